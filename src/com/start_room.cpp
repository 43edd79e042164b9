#include "com/start_room.h"

#include "com/options.h"

namespace clr_host_memory {

bool FitsAfterStart(std::uint64_t limit, std::uint64_t in_use, std::uint64_t app_domain_headroom,
                    std::uint64_t process_headroom) noexcept {
  const char* reason = nullptr;
  const Limits limits = LimitsOf(limit, app_domain_headroom, process_headroom, &reason);
  if (limits.limit == kUnlimited) return true;
  if (reason != nullptr || in_use > limit) return false;
  const std::uint64_t left = limit - in_use;
  const std::uint64_t kept = (limits.app_domain_headroom + limits.process_headroom).value;
  return left >= kNeededAfterStart && left >= kept && left - kept >= kHeapNeededAfterStart;
}

std::uint64_t LeastLimitAfterStart(std::uint64_t in_use, std::uint64_t app_domain_headroom,
                                   std::uint64_t process_headroom) noexcept {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  constexpr std::uint64_t kMostMiB = std::uint64_t{1} << 20;  // 1 TiB
  const auto fits = [&](std::uint64_t mib) {
    return FitsAfterStart(mib * kMiB, in_use, app_domain_headroom, process_headroom);
  };
  // Binary search works here: memory that fits within a limit fits within any higher limit, also with a headroom in
  // percent.
  std::uint64_t too_little = 0;
  std::uint64_t enough = kMostMiB;
  if (!fits(enough)) return 0;
  while (enough - too_little > 1) {
    const std::uint64_t middle = too_little + (enough - too_little) / 2;
    (fits(middle) ? enough : too_little) = middle;
  }
  return enough * kMiB;
}

}  // namespace clr_host_memory
