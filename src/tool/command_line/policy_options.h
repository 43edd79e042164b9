// The memory policy options of `clrmem run`, and their command line syntax.
#ifndef CLRHM_TOOL_COMMAND_LINE_POLICY_OPTIONS_H
#define CLRHM_TOOL_COMMAND_LINE_POLICY_OPTIONS_H

#include <clr_host_memory/bridge_abi.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory::tool {

// Bytes; empty: no limit.
using Limit = std::optional<std::uint64_t>;

// The least limit that `clrmem run` accepts, in bytes. With a smaller heap no GC of .NET 8 or .NET 10 starts
// (measured: docs/tool.md).
inline constexpr std::uint64_t kLeastLimit = std::uint64_t{3892} << 10;
inline constexpr char kLeastLimitText[] = "3892K";

// The headrooms of the process and of the application domain. Both values are as in ClrHostMemoryOptions: bytes, a
// percentage of the limit, or the default.
struct Headroom {
  std::uint64_t process = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
  std::uint64_t app_domain = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
};

struct LimitChange {
  std::uint64_t after_ms = 0;  // milliseconds since managed code began to run
  Limit limit;
};

using WaitsByLevel = std::array<std::uint32_t, kClrHostMemoryLevelCount>;  // milliseconds, by EMemoryCriticalLevel

// What clrmem does when the runtime thrashes at its limit.
enum class OnThrash { kReport, kStop };

struct PolicyOptions {
  Headroom headroom;  // the default, unless the command line gives one
  WaitsByLevel wait_ms{};
  std::uint64_t committed_headroom = 0;  // bytes
  bool count_whole_process = false;
  // Heap limit passed to the GC at its start: bytes, CLR_HOST_MEMORY_GC_LIMIT_AUTO, or 0 for none.
  std::uint64_t gc_limit = 0;
  bool companion = true;                   // load the companion where the runtime can
  std::vector<LimitChange> limit_changes;  // sorted by time, at most one for each time
  OnThrash on_thrash = OnThrash::kReport;
};

// The texts of the policy options on the command line.
struct PolicyTexts {
  std::optional<std::string> headroom;
  std::optional<std::string> wait;
  std::optional<std::string> commit_headroom;
  std::optional<std::string> gc_limit;
  std::optional<std::string> companion;
  bool count_whole_process = false;
  std::vector<std::string> limit_at;
  std::optional<std::string> on_thrash;

  // Returns the name of the first option given, such as "--wait"; null if none was given.
  [[nodiscard]] const char* FirstGiven() const noexcept;
};

// Parses the policy options. limit: the value of --limit. Throws ToolError if an option does not match docs/tool.md,
// if options conflict, or if an option needs a limit and there is none.
[[nodiscard]] PolicyOptions ParsePolicy(const PolicyTexts& texts, const Limit& limit);

// Parses the value `text` of the option `option`. Throws ToolError if it is no size or below kLeastLimit.
[[nodiscard]] std::uint64_t ParseLimit(std::string_view text, std::string_view option);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_COMMAND_LINE_POLICY_OPTIONS_H
