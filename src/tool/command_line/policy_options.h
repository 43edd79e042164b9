// The memory policy options of `clrmem run`, and their command line syntax.
#ifndef CLRHM_TOOL_COMMAND_LINE_POLICY_OPTIONS_H
#define CLRHM_TOOL_COMMAND_LINE_POLICY_OPTIONS_H

#include <clr_host_memory/memory_manager_abi.h>

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
  std::optional<Headroom> headroom;  // as given on the command line
  WaitsByLevel wait_ms{};
  std::uint64_t emergency_reserve = 0;  // bytes
  bool own_reserve = false;             // clrmem chose the reserve; the command line gave none
  bool count_whole_process = false;
  std::uint64_t gc_limit = 0;              // heap limit passed to the GC at its start, bytes; 0: none
  std::vector<LimitChange> limit_changes;  // sorted by time, at most one for each time
  OnThrash on_thrash = OnThrash::kReport;

  // Sets gc_limit to 0, for a runtime whose GC accepts no limit. A reserve that clrmem chose is then no larger than
  // the limit. limit: the value of --limit.
  void LeaveGcLimitOut(const Limit& limit) noexcept;
  // Returns the headroom to keep within the limit: the one given on the command line, if any. Otherwise returns 0 if
  // there is an emergency reserve: the reserve, on top of the limit, replaces the headroom. Otherwise returns the
  // default.
  [[nodiscard]] Headroom HeadroomToKeep() const noexcept;
};

// The texts of the policy options on the command line.
struct PolicyTexts {
  std::optional<std::string> headroom;
  std::optional<std::string> wait;
  std::optional<std::string> emergency_reserve;
  std::optional<std::string> gc_limit;
  bool count_whole_process = false;
  std::vector<std::string> limit_at;
  std::optional<std::string> on_thrash;

  // Returns the name of the first option given, such as "--wait"; null if none was given.
  [[nodiscard]] const char* FirstGiven() const noexcept;
};

// Parses the policy options. limit: the value of --limit. Throws ToolError if an option does not match docs/tool.md,
// if options conflict, or if an option needs a limit and there is none.
[[nodiscard]] PolicyOptions ParsePolicy(const PolicyTexts& texts, const Limit& limit);

// Returns the reserve that clrmem chooses for a limit, in bytes, when the command line gives neither headroom nor a
// reserve. The reserve serves requests that the CLR cannot live without, on top of the limit. gc_has_own: the GC
// keeps to its own limit. The reserve then covers everything that a runtime has outside its heap, which is the same
// under the smallest limit. Otherwise the reserve is at most as large as the limit.
[[nodiscard]] std::uint64_t OwnReserve(std::uint64_t limit, bool gc_has_own) noexcept;

// Returns the least heap limit to pass to a GC, where the manager allows eTaskCritical requests `allowed` bytes
// within the limit. The result is all of `allowed`: the reserve on top pays for the runtime's memory outside the heap
// (decision 11). Returns 0, for no limit, if `allowed` is too little for a GC.
[[nodiscard]] std::uint64_t GcLimitWithin(std::uint64_t allowed) noexcept;

// Parses the value `text` of the option `option`. Throws ToolError if it is no size or below kLeastLimit.
[[nodiscard]] std::uint64_t ParseLimit(std::string_view text, std::string_view option);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_COMMAND_LINE_POLICY_OPTIONS_H
