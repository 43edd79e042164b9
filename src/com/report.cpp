#include "com/report.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <numeric>
#include <string_view>

namespace clr_host_memory {
namespace {

// Values that a line shows in another way than as a number: a limit, which may be absent, and an address.
struct Limit {
  std::uint64_t bytes;
};
struct Hex {
  Address address;
};

// One line of text. Text that exceeds the buffer is cut.
class Line {
 public:
  void Add(std::string_view text) {
    const std::size_t count = std::min(text.size(), text_.size() - 1 - size_);
    std::copy_n(text.data(), count, text_.data() + size_);
    size_ += count;
  }
  void Add(std::uint64_t number) {
    char digits[20];
    const char* const end = std::to_chars(digits, std::end(digits), number).ptr;
    Add({digits, static_cast<std::size_t>(end - digits)});
  }
  void Add(Bytes bytes) { Add(bytes.value); }
  void Add(Limit limit) {
    if (limit.bytes == CLR_HOST_MEMORY_NO_LIMIT) return Add("none");
    Add(limit.bytes);
  }
  void Add(Hex hex) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    Add("0x");
    for (int shift = 60; shift >= 0; shift -= 4)
      Add(kDigits.substr(static_cast<std::size_t>(hex.address >> shift & 0xF), 1));
  }
  [[nodiscard]] const char* text() const { return text_.data(); }

 private:
  std::array<char, 512> text_{};
  std::size_t size_ = 0;
};

class Report {
 public:
  Report(ClrHostMemoryReportLine write_line, void* context) : write_line_(write_line), context_(context) {}

  // Writes one line that joins the parts.
  template <typename... Parts>
  void Write(Parts... parts) const {
    Line line;
    (line.Add(parts), ...);
    write_line_(line.text(), context_);
  }

 private:
  ClrHostMemoryReportLine write_line_;
  void* context_;
};

constexpr std::array<std::string_view, kCriticalityCount> kLevels = {"task", "app-domain", "process"};

[[nodiscard]] std::string_view NameOfMethod(std::uint32_t method) {
  static constexpr std::string_view kNames[] = {"CreateMalloc",
                                                "VirtualAlloc",
                                                "VirtualFree",
                                                "VirtualQuery",
                                                "VirtualProtect",
                                                "GetMemoryLoad",
                                                "RegisterMemoryNotificationCallback",
                                                "NeedsVirtualAddressSpace",
                                                "AcquiredVirtualAddressSpace",
                                                "ReleasedVirtualAddressSpace",
                                                "IHostMalloc::Alloc",
                                                "IHostMalloc::DebugAlloc",
                                                "IHostMalloc::Free"};
  static_assert(std::size(kNames) == kClrHostMemoryMethodCount);
  return method < std::size(kNames) ? kNames[method] : "unknown";
}

void WriteState(const ClrHostMemoryStatistics& now, const Report& report) {
  static constexpr std::string_view kStages[] = {"running", "draining", "stopped"};
  static constexpr std::string_view kCauses[] = {"none", "OS", "exception"};
  report.Write("ClrHostMemory report, sizes in bytes");
  report.Write("figures of one moment: ", now.consistent != 0 ? "yes" : "no");
  report.Write("stage: ", kStages[now.state]);
  if (now.latch_cause == kClrHostMemoryNotLatched) {
    report.Write("latch: none");
  } else {
    report.Write("latch: ", kCauses[now.latch_cause], ", method ", NameOfMethod(now.latch_method), ", error ",
                 now.latch_error);
  }
}

void WriteCharge(const ClrHostMemoryStatistics& now, const Report& report) {
  report.Write("limit: ", Limit{now.limit}, ", app-domain headroom ", now.app_domain_headroom, ", process headroom ",
               now.process_headroom);
  report.Write("charged: ", now.charged, ", peak ", now.peak_charged, ", pages ", now.page_bytes, ", heaps ",
               now.heap_bytes, ", over the limit ", now.over_limit, ", outside ", now.outside);
  report.Write("reserved: ", now.reserved, ", peak ", now.peak_reserved, ", views ", now.mapped, ", metadata ",
               now.metadata);
  report.Write("bound: ", Limit{now.bound}, ", ever exceeded by ", now.over_bound);
  report.Write("committed headroom: ", now.committed_headroom, ", held ", now.headroom_held, ", given ",
               now.headroom_given, ", uses ", now.headroom_uses, ", taken back ", now.headroom_taken_back);
  report.Write("GC: charged ", now.gc_charged, ", limit ", now.gc_limit);
  report.Write("address space reserve: ", now.address_space_reserve, ", held ", now.address_space_held, ", uses ",
               now.address_space_uses);
}

void WriteRefusals(const ClrHostMemoryStatistics& now, const Report& report) {
  for (std::size_t level = 0; level < kLevels.size(); ++level) {
    const auto& by_code = now.refusals[level];
    const std::uint64_t all = std::accumulate(std::begin(by_code), std::end(by_code), std::uint64_t{0});
    const std::uint64_t by_limit = now.limit_refusals[level];
    const std::uint64_t named = by_code[kClrHostMemoryOutOfMemory] + by_code[kClrHostMemoryTimeout] +
                                by_code[kClrHostMemoryAbandoned] + by_code[kClrHostMemoryNotOwner] +
                                by_code[kClrHostMemoryClrNotAvailable];
    report.Write("refusals, ", kLevels[level], ": ", all, ", limit ", by_limit, ", system ",
                 by_code[kClrHostMemoryOutOfMemory] - std::min(by_code[kClrHostMemoryOutOfMemory], by_limit),
                 ", timed out ", by_code[kClrHostMemoryTimeout], ", abandoned ", by_code[kClrHostMemoryAbandoned],
                 ", not owner ", by_code[kClrHostMemoryNotOwner], ", not available ",
                 by_code[kClrHostMemoryClrNotAvailable], ", other ", all - named);
  }
  report.Write("refusals, placement: ", now.placement_refusals);
}

void WriteWaits(const ClrHostMemoryStatistics& now, const Report& report) {
  for (std::size_t level = 0; level < kLevels.size(); ++level) {
    report.Write("waits, ", kLevels[level], ": ", now.waits[level], ", granted ", now.waits_granted[level],
                 ", timed out ", now.waits_timed_out[level], ", abandoned ", now.waits_abandoned[level]);
  }
  report.Write("waiting now: ", now.waiting);
}

void WriteNotifications(const ClrHostMemoryStatistics& now, const Report& report) {
  static constexpr std::string_view kStates[] = {"unknown", "low", "neutral", "high"};
  static_assert(eMemoryAvailableLow == 1 && eMemoryAvailableHigh == 3);
  report.Write("notifications: low ", now.notifications[0], ", neutral ", now.notifications[1], ", high ",
               now.notifications[2], ", now ", kStates[now.availability]);
  report.Write("thrashes: ", now.thrashes);
}

void WriteRegions(const ClrHostMemoryStatistics& now, const Engine& engine, const Report& report) {
  report.Write("regions: ", now.regions, ", stale ", now.stale_regions);
  std::uint64_t regions = 0;
  std::uint64_t heap_regions = 0;
  Bytes heap_reserved;
  engine.ForEachRegion([&](const Region& region) {
    const bool of_heap = engine.IsOwned(region);
    if (of_heap) {
      ++heap_regions;
      heap_reserved = heap_reserved + region.pages.InBytes();
    }
    if (++regions <= kMostReportedRegions) {
      report.Write("region: ", Hex{region.base}, ", size ", region.pages.InBytes(),
                   region.kind == Region::Kind::kView ? ", view" : ", reserved", ", owner ", of_heap ? "heap" : "CLR",
                   ", charged ", engine.ChargedIn(region.Range()).InBytes());
    }
  });
  report.Write("regions not listed: ", regions - std::min(regions, kMostReportedRegions));
  report.Write("heaps: regions ", heap_regions, ", reserved ", heap_reserved, ", charged ", now.heap_bytes);
}

void WriteSealedRegions(const Engine& engine, const Report& report) {
  report.Write("sealed regions: ", engine.seals().Count());
  engine.seals().ForEach([&](PageRange sealed) {
    report.Write("sealed region: ", Hex{sealed.Start()}, ", size ", sealed.count.InBytes());
  });
}

}  // namespace

void WriteReportLines(const ClrHostMemoryStatistics& statistics, const Engine& engine,
                      ClrHostMemoryReportLine write_line, void* context) {
  const Report report(write_line, context);
  WriteState(statistics, report);
  WriteCharge(statistics, report);
  WriteRefusals(statistics, report);
  WriteWaits(statistics, report);
  WriteNotifications(statistics, report);
  WriteRegions(statistics, engine, report);
  WriteSealedRegions(engine, report);
  report.Write("end of report");
}

}  // namespace clr_host_memory
