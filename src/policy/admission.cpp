#include "policy/admission.h"

#include <algorithm>

namespace clr_host_memory {

Headroom DefaultHeadroom(Bytes limit, Bytes committed) {
  constexpr std::uint64_t kMiB = 1024 * 1024;
  if (limit == kUnlimited) return {};
  const std::uint64_t wanted = std::clamp(limit.value / 32, 2 * kMiB, 32 * kMiB);
  const std::uint64_t process = RoundDownToPage(std::min(wanted, limit.value / 8));
  const std::uint64_t raised = std::max(process, RoundDownToPage(std::min(committed.value, limit.value / 4)));
  return {.app_domain = {RoundDownToPage(process / 4)}, .process = {raised}};
}

LimitsError Validate(const Limits& limits) {
  if (limits.limit == Bytes{}) return LimitsError::kLimitIsZero;
  if (limits.limit == kUnlimited) return LimitsError::kNone;
  if (limits.process_headroom > limits.limit || limits.app_domain_headroom > limits.limit - limits.process_headroom) {
    return LimitsError::kHeadroomExceedsLimit;
  }
  return LimitsError::kNone;
}

}  // namespace clr_host_memory
