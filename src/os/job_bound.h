// What a job object leaves to the process, from the figures Windows gives.
#ifndef CLRHM_OS_JOB_BOUND_H
#define CLRHM_OS_JOB_BOUND_H

#include <algorithm>

#include "base/units.h"

namespace clr_host_memory {

// A limit of 0 or kUnlimited is none.
struct JobFigures {
  Bytes job_limit;      // commit of all processes in the job together (JobMemoryLimit)
  Bytes job_used;       // of it; 0 where the OS does not tell: then the process' own use stands in for it
  Bytes process_limit;  // commit of each process (ProcessMemoryLimit)
  Bytes process_used;   // of this one
};

struct JobBound {
  Bytes total;  // 0: no bound
  Bytes available;
};

// The limit that leaves least; of two that leave the same, the smaller one.
[[nodiscard]] constexpr JobBound TightestInJob(const JobFigures& figures) {
  JobBound tightest{{}, kUnlimited};
  const auto consider = [&](Bytes limit, Bytes used) {
    if (limit == Bytes{} || limit == kUnlimited) return;
    const JobBound bound{limit, limit - std::min(used, limit)};
    if (bound.available < tightest.available ||
        (bound.available == tightest.available && bound.total < tightest.total)) {
      tightest = bound;
    }
  };
  consider(figures.job_limit, std::max(figures.job_used, figures.process_used));
  consider(figures.process_limit, figures.process_used);
  return tightest.total == Bytes{} ? JobBound{} : tightest;
}

}  // namespace clr_host_memory

#endif  // CLRHM_OS_JOB_BOUND_H
