#include "tool/hosting/companion.h"

#include "bridge/start/start_properties.h"

#include <charconv>
#include <string_view>

namespace clr_host_memory::tool {

GcLimitFigures GcLimitFiguresOf(const PolicyOptions& policy, std::size_t count, const char* const* keys,
                                const char* const* values, const ClrHostMemoryStartProperties& added) {
  if (!kGcTakesLimits) return {.at_start = 0, .follows = GcFollows::kGcTakesNone};
  GcLimitFigures figures;
  std::string_view limit;
  // The runtime takes the first of two.
  for (std::size_t index = 0; index < count && limit.empty(); ++index) {
    if (std::string_view(keys[index]) == kHardLimitProperty) limit = values[index];
  }
  std::from_chars(limit.data(), limit.data() + limit.size(), figures.at_start);
  if (policy.gc_limit != CLR_HOST_MEMORY_GC_LIMIT_AUTO) {
    figures.follows = GcFollows::kGivenLimit;
  } else if (added.gc_limit_follows == 0) {
    figures.follows = GcFollows::kLimitOfTheApp;
  } else if (!policy.companion) {
    figures.follows = GcFollows::kCompanionOff;
  } else if (added.loads_companion == 0) {
    figures.follows = GcFollows::kOldRuntime;
  } else if (added.companion[0] == '\0') {
    figures.follows = GcFollows::kNoCompanion;
  } else {
    figures.follows = GcFollows::kYes;
  }
  return figures;
}

}  // namespace clr_host_memory::tool
