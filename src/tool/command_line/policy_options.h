// What `clrmem run` asks of the manager besides a limit, and how it is written on the command line.
#ifndef CLRHM_TOOL_COMMAND_LINE_POLICY_OPTIONS_H
#define CLRHM_TOOL_COMMAND_LINE_POLICY_OPTIONS_H

#include <clr_host_memory/clr_host_memory.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory::tool {

// Bytes; none: no limit.
using Limit = std::optional<std::uint64_t>;

// The least limit `clrmem run` takes, in bytes: with less for its heap no GC of .NET 8 or .NET 10 starts (measured:
// docs/tool.md).
inline constexpr std::uint64_t kLeastLimit = std::uint64_t{3892} << 10;
inline constexpr char kLeastLimitText[] = "3892K";

// Both as in ClrHostMemoryOptions: bytes, a percentage of the limit, or the default.
struct Headroom {
  std::uint64_t process = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
  std::uint64_t app_domain = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
};

struct LimitChange {
  std::uint64_t after_ms = 0;  // milliseconds since managed code began to run
  Limit limit;
};

using WaitsByLevel = std::array<std::uint32_t, kClrHostMemoryLevelCount>;  // milliseconds, by EMemoryCriticalLevel

// What becomes of a program whose runtime spins at its limit.
enum class OnThrash { kReport, kStop };

struct PolicyOptions {
  std::optional<Headroom> headroom;  // as given
  WaitsByLevel wait_ms{};
  std::uint64_t emergency_reserve = 0;  // bytes
  bool own_reserve = false;             // clrmem's own: nobody asked for it
  bool count_whole_process = false;
  std::uint64_t gc_limit = 0;              // bytes the GC is told to keep to when it starts; 0: none
  std::vector<LimitChange> limit_changes;  // by time, each time once
  OnThrash on_thrash = OnThrash::kReport;

  // For a runtime whose GC takes no limit; clrmem's own reserve is then no larger than the limit. limit: what --limit
  // says.
  void LeaveGcLimitOut(const Limit& limit) noexcept;
  // What is kept of the limit: a reserve on top of it makes that unnecessary, unless it was asked for.
  [[nodiscard]] Headroom HeadroomToKeep() const noexcept;
};

// As they are on the command line.
struct PolicyTexts {
  std::optional<std::string> headroom;
  std::optional<std::string> wait;
  std::optional<std::string> emergency_reserve;
  std::optional<std::string> gc_limit;
  bool count_whole_process = false;
  std::vector<std::string> limit_at;
  std::optional<std::string> on_thrash;

  // The first option that was given, "--wait"; null: none.
  [[nodiscard]] const char* FirstGiven() const noexcept;
};

// limit: what --limit says. Throws ToolError: one is not as docs/tool.md has it, they do not fit together, or one needs
// a limit and there is none.
[[nodiscard]] PolicyOptions ParsePolicy(const PolicyTexts& texts, const Limit& limit);

// The reserve under a limit, in bytes, where neither headroom nor a reserve is asked for: what the CLR cannot live
// without gets it, on top of the limit. gc_has_own: the GC keeps to a limit, and the reserve is for all that a runtime
// has besides its heap, which is the same under the smallest limit; else it is at most as large as the limit.
[[nodiscard]] std::uint64_t OwnReserve(std::uint64_t limit, bool gc_has_own) noexcept;

// What a GC is to keep to at least where the manager allows eTaskCritical requests `allowed` bytes within the limit:
// all of that, since what a runtime has committed besides is paid by the reserve on top (decision 11). 0, for no limit,
// where that is too little for a GC.
[[nodiscard]] std::uint64_t GcLimitWithin(std::uint64_t allowed) noexcept;

// text is what option says. Throws ToolError: no size, or below kLeastLimit.
[[nodiscard]] std::uint64_t ParseLimit(std::string_view text, std::string_view option);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_COMMAND_LINE_POLICY_OPTIONS_H
