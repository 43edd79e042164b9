#include "tool/run/memory_breakdown.h"

#include <algorithm>
#include <map>

namespace clr_host_memory::tool {
namespace {

// Subtracts up to wanted from *from. Returns the part that *from could not supply.
std::uint64_t TakeFrom(std::uint64_t* from, std::uint64_t wanted) {
  const std::uint64_t taken = std::min(*from, wanted);
  *from -= taken;
  return wanted - taken;
}

bool Has(const std::vector<std::uint64_t>& bases, std::uint64_t base) {
  return std::find(bases.begin(), bases.end(), base) != bases.end();
}

void AddHosted(const MemoryRun& run, MemoryBreakdown::Hosted* hosted) {
  if (run.type == MemoryType::kMapped) return;  // counted from the total: one page may appear in several views
  if (run.type == MemoryType::kImage) {
    hosted->image += run.hosted;
  } else {
    (run.executable ? hosted->executable : hosted->data) += run.hosted;
  }
  hosted->by_purpose.at(run.purpose) += run.hosted;
}

}  // namespace

std::uint64_t HostedBytes(const MemoryBreakdown& accounting) {
  const MemoryBreakdown::Hosted& hosted = accounting.hosted;
  return hosted.data + hosted.executable + hosted.image + hosted.mapped;
}

std::uint64_t NotHostedBytes(const MemoryBreakdown& accounting) {
  const MemoryBreakdown::NotHosted& rest = accounting.not_hosted;
  return rest.stacks + rest.thread_data + rest.heaps + rest.images + rest.own + rest.unknown;
}

MemoryBreakdown BreakDown(const std::vector<MemoryRun>& runs, const KnownAllocations& known_allocations,
                          const KnownSums& sums) {
  MemoryBreakdown accounting;
  accounting.process = sums.process;
  MemoryBreakdown::Hosted& hosted = accounting.hosted;
  MemoryBreakdown::NotHosted& rest = accounting.not_hosted;
  std::map<std::uint64_t, std::uint64_t> images;
  for (const MemoryRun& run : runs) {
    AddHosted(run, &hosted);
    const std::uint64_t bytes = run.size - std::min(run.hosted, run.size);
    if (run.type == MemoryType::kImage) {
      if (run.writable) images[run.allocation_base] += bytes;
    } else if (run.type == MemoryType::kPrivate) {
      std::uint64_t& row = Has(known_allocations.stacks, run.allocation_base)        ? rest.stacks
                           : Has(known_allocations.thread_data, run.allocation_base) ? rest.thread_data
                           : Has(known_allocations.heaps, run.allocation_base)       ? rest.heaps
                                                                                     : rest.unknown;
      row += bytes;
    }
  }
  for (const auto& [base, bytes] : images) {
    rest.images += bytes;
    const auto named =
        std::find_if(known_allocations.images.begin(), known_allocations.images.end(),
                     [wanted = base](const KnownAllocations::Image& image) { return image.base == wanted; });
    rest.by_image.push_back({named == known_allocations.images.end() ? "?" : named->name, bytes});
  }
  std::stable_sort(rest.by_image.begin(), rest.by_image.end(),
                   [](const NamedBytes& left, const NamedBytes& right) { return left.bytes > right.bytes; });
  rest.stack_count = known_allocations.stacks.size();

  const std::uint64_t seen = hosted.data + hosted.executable + hosted.image;
  hosted.mapped = sums.hosted_pages - std::min(seen, sums.hosted_pages);
  hosted.heap = sums.hosted_heap;
  // The manager's own tables lie in allocations counted above. Only their sum is known, so it is taken from unknown.
  rest.own = sums.own;
  rest.own -= TakeFrom(&rest.unknown, sums.own);
  accounting.unexplained = static_cast<std::int64_t>(accounting.process - (HostedBytes(accounting) - hosted.mapped) -
                                                     NotHostedBytes(accounting));
  return accounting;
}

}  // namespace clr_host_memory::tool
