// A log of the manager's events about pressure, the limit and thrashing, in a fixed amount of memory.
#ifndef CLRHM_TOOL_RUN_EVENT_LOG_H
#define CLRHM_TOOL_RUN_EVENT_LOG_H

#include <clr_host_memory/memory_manager_abi.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace clr_host_memory::tool {

struct PressureChange {
  std::int64_t at_ms = 0;
  EMemoryAvailable availability = eMemoryAvailableNeutral;
  std::uint32_t available_percent = 0;  // available part of the tightest bound
};

// A period in which more memory was in use than the limit.
struct OverLimitPeriod {
  std::int64_t from_ms = 0;
  std::optional<std::int64_t> until_ms;  // none: the period continues
  std::uint64_t bytes = 0;               // bytes above the limit at the beginning
};

// The first detection of a runtime that thrashes at its limit.
struct ThrashFigures {
  std::int64_t at_ms = 0;  // the end of the window
  std::uint64_t window_ms = 0;
  std::uint64_t refusals = 0;
  std::uint64_t collections = 0;
  std::uint64_t obtained_bytes = 0;
};

struct EventFigures {
  std::vector<PressureChange> pressure_changes;  // the first ones
  std::uint64_t unlisted_pressure_changes = 0;
  std::uint64_t repeated_low = 0;                   // times that Low was repeated while it lasted
  std::vector<OverLimitPeriod> over_limit_periods;  // the first ones
  std::uint64_t unlisted_over_limit_periods = 0;
  std::optional<ThrashFigures> first_thrash;
};

// A log of the first entries; later ones are only counted.
// Record runs on one thread at a time, as IClrHostMemoryEventSink is called.
// Figures runs on any thread at any time, also when the recording thread was killed anywhere inside Record. This
// works because neither takes a lock, and Record publishes an entry only when the entry is complete.
class EventLog {
 public:
  static constexpr std::size_t kListedPressureChanges = 36;
  static constexpr std::size_t kListedOverLimitPeriods = 12;

  void Record(const ClrHostMemoryEvent& event) noexcept;
  // Returns the recorded figures. Times are as in the events: milliseconds since the manager was created. Throws
  // std::bad_alloc.
  [[nodiscard]] EventFigures Figures() const;

 private:
  struct Period {
    std::int64_t from_ms = 0;
    std::uint64_t bytes = 0;
    std::atomic<std::int64_t> until_ms = kLasts;
  };
  static constexpr std::int64_t kLasts = INT64_MAX;

  void RecordPressure(const ClrHostMemoryEvent& event) noexcept;
  void RecordOverLimit(const ClrHostMemoryEvent& event) noexcept;
  void RecordThrash(const ClrHostMemoryEvent& event) noexcept;

  std::array<PressureChange, kListedPressureChanges> changes_{};
  std::atomic<std::size_t> change_count_ = 0;  // all changes, listed or not
  std::atomic<std::uint64_t> repeated_low_ = 0;
  EMemoryAvailable last_ = eMemoryAvailableNeutral;  // a manager's initial state; for the recording thread only
  std::array<Period, kListedOverLimitPeriods> periods_{};
  std::atomic<std::size_t> period_count_ = 0;
  ThrashFigures thrash_;
  std::atomic<bool> thrashed_ = false;
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_EVENT_LOG_H
