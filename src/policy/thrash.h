// The thrash guard: distinguishes a CLR that spins at its limit from a CLR that works near it. A spinning CLR is
// refused again and again, its charge stays the same, and hardly any request is granted. Pure: counts and time go in,
// a report or none comes out.
//
// A thrashing window meets all of these conditions:
// - Two successive refusals are at most a quarter of the window apart.
// - The charge stays near the limit.
// - There are many refusals, few grants, and few bytes obtained. A reservation is no gain, and neither is a grant whose
//   region is released again. A segments GC reserves a segment for a large object, commits its first page, is refused
//   the rest, and releases the segment.
//
// So these CLRs cause no report:
// - a CLR that is refused now and then;
// - a CLR that fills its heap, frees it and fills it again;
// - a CLR that waits.
//
// The window slides by quarters.
//
// A GC that keeps to a limit of its own is never refused. If a companion reads the GC, GcThrashGuard judges it by the
// definition of the JVM's GC overhead limit.
#ifndef CLRHM_POLICY_THRASH_H
#define CLRHM_POLICY_THRASH_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/time.h"
#include "base/units.h"

namespace clr_host_memory {

struct ThrashSettings {
  Milliseconds window{5000};    // 0: nothing is ever reported
  std::uint64_t refusals = 40;  // the fewest in a window for a report
};

// Counts since the manager was made; they never decrease.
struct ThrashCounts {
  std::uint64_t refusals = 0;      // by the limit, of requests that may fail
  std::uint64_t grants = 0;        // allocations that were granted
  std::uint64_t without_gain = 0;  // of these the reservations without memory; and releases of regions
  std::uint64_t collections = 0;   // queries of available memory by the CLR; each of its collections makes one
};

// What a running GC says of itself. Totals since the start of the runtime.
struct GcReading {
  Milliseconds at{};      // time of the reading
  Milliseconds paused{};  // time for which the GC has paused the program
  std::uint64_t collections = 0;
  Bytes allocated;  // by the program
  Bytes heap;       // size of the heap after the last collection
};

struct ThrashReading {
  ThrashCounts counts;
  Bytes charged;
  Bytes ceiling = kUnlimited;  // the ceiling of the requests whose refusals are counted
};

// The report of one window.
struct ThrashReport {
  Milliseconds window{};
  std::uint64_t refusals = 0;
  std::uint64_t collections = 0;
  Bytes obtained;  // sum of all rises of the charge between readings
};

class ThrashGuard {
 public:
  // now: a time of any clock that never goes back.
  ThrashGuard(const ThrashSettings& settings, Milliseconds now) : settings_(settings) { quarter_.began = now; }

  // Returns a report when a window is full and was spent in thrashing. The next report needs a new window.
  [[nodiscard]] std::optional<ThrashReport> Observe(const ThrashReading& reading, Milliseconds now);
  // Changes the settings. If they differ, the current window begins again.
  void SetSettings(const ThrashSettings& settings);

 private:
  static constexpr std::size_t kQuarters = 4;
  struct Quarter {
    Milliseconds began{};
    std::uint64_t refusals = 0;
    std::uint64_t grants = 0;
    std::uint64_t without_gain = 0;
    std::uint64_t collections = 0;
    Bytes obtained;
    bool at_limit = true;  // set while every reading is near the limit
  };

  [[nodiscard]] std::optional<ThrashReport> CloseQuarter(Milliseconds now, Bytes ceiling);

  ThrashSettings settings_;
  std::optional<ThrashReading> last_;
  Milliseconds refused_at_{};              // time of the last refusal; at first, of the first reading
  Quarter quarter_;                        // the current quarter
  std::array<Quarter, kQuarters> steady_;  // the quarters before it
  std::size_t steady_count_ = 0;
};

// Reports a GC that spends nearly all time in collections and gains nearly nothing by them. At least 98 % of a window
// is spent, and each collection gains on average less than 2 % of the heap. What a collection gains is what the program
// allocates before the next one. The window slides by quarters. Such a GC may let a companion's thread run only now and
// then. If its readings are rare, the window lasts from the last reading that is old enough.
class GcThrashGuard {
 public:
  // Returns a report when a window is full and was spent in thrashing. The next report needs a new window.
  // window: 0: nothing is ever reported. reading: newer than the last, or the same.
  [[nodiscard]] std::optional<ThrashReport> Observe(const GcReading& reading, Milliseconds window);

 private:
  static constexpr std::size_t kQuarters = 4;
  // Readings at least a quarter of the window apart, oldest first. Only the first is as old as the window.
  std::array<GcReading, kQuarters + 1> marks_;
  std::size_t count_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_THRASH_H
