#include "policy/memory_status.h"

#include <algorithm>

#include "policy/percent.h"

namespace clr_host_memory {
namespace {

enum : std::uint8_t { kLimit, kJob, kPhysical, kCommit };

[[nodiscard]] bool IsBound(const PressureSource& source) {
  return source.total != Bytes{} && source.total != kUnlimited;
}

// Returns source, or, if it is no bound, a source that is never the least.
[[nodiscard]] PressureSource OrNone(const PressureSource& source) {
  return IsBound(source) ? PressureSource{source.total, std::min(source.available, source.total)}
                         : PressureSource{kUnlimited, kUnlimited};
}

}  // namespace

PressureSources SourcesOf(const MemoryLoad& load, const LimitUse& use) {
  PressureSources sources;
  // A limit of 0 bytes in reach must still be a bound, so its total is at least 1.
  const Bytes reach = use.limit == kUnlimited ? use.limit : use.limit - std::min(use.headroom, use.limit);
  sources[kLimit] = {std::max(reach, Bytes{1}), reach - std::min(InUse(use), reach)};
  sources[kJob] = {load.total_in_job, load.available_in_job};
  sources[kPhysical] = {load.total_physical, load.available_physical};
  sources[kCommit] = {load.total_commit, load.available_commit};
  return sources;
}

MemoryStatus StatusOf(const MemoryLoad& load, const LimitUse& use) {
  const PressureSources sources = SourcesOf(load, use);
  const PressureSource limit = OrNone(sources[kLimit]);
  const PressureSource job = OrNone(sources[kJob]);
  const PressureSource commit = OrNone(sources[kCommit]);

  MemoryStatus status;
  const Bytes whole = std::max(use.limit, Bytes{1});
  status.total_commit = std::min({whole, job.total, commit.total});
  status.available_commit = std::min({limit.available, job.available, commit.available});
  status.total_physical = std::min({whole, job.total, load.total_physical});
  status.available_physical = std::min(status.available_commit, load.available_physical);
  // For physical memory the OS reports a percentage itself, with its own rounding.
  status.percent_in_use = std::min<std::uint32_t>(load.percent_in_use, 100);
  for (const PressureSource& bound : {limit, job, commit}) {
    if (!IsBound(bound)) continue;
    status.percent_in_use = std::max(status.percent_in_use, PercentOf(bound.total - bound.available, bound.total));
  }
  return status;
}

}  // namespace clr_host_memory
