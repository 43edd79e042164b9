// The memory that a job object leaves to the process, computed from the figures of Windows.
#ifndef CLRHM_OS_JOB_BOUND_H
#define CLRHM_OS_JOB_BOUND_H

#include <algorithm>

#include "base/units.h"

namespace clr_host_memory {

// Figures of the job. A limit of 0 or kUnlimited means no limit.
struct JobFigures {
  Bytes job_limit;  // bytes; commit of all processes in the job together (JobMemoryLimit)
  Bytes job_used;   // bytes used of job_limit; 0 if the OS does not report it: the process' own use then replaces it
  Bytes process_limit;  // commit of each process (ProcessMemoryLimit)
  Bytes process_used;   // this process' commit
};

struct JobBound {
  Bytes total;  // 0: no bound
  Bytes available;
};

// Returns the limit that leaves least. If two leave the same, returns the smaller one.
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
