// Spans of time, and points of a clock that never goes back.
#ifndef CLRHM_BASE_TIME_H
#define CLRHM_BASE_TIME_H

#include <chrono>

namespace clr_host_memory {

using Milliseconds = std::chrono::milliseconds;

// For waits: no time limit.
inline constexpr Milliseconds kForever = Milliseconds::max();

}  // namespace clr_host_memory

#endif  // CLRHM_BASE_TIME_H
