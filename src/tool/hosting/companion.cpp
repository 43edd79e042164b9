#include "tool/hosting/companion.h"

#include "bridge/patch/module_files.h"
#include "bridge/start/start_properties.h"
#include "tool/text/text.h"

#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace clr_host_memory::tool {
namespace {

namespace fs = std::filesystem;

// Returns the value of a property; empty if it is not among them. The runtime takes the first of two.
std::string_view ValueOf(std::string_view key, int count, const char* const* keys, const char* const* values) {
  for (int index = 0; index < count; ++index) {
    if (key == keys[index]) return values[index];
  }
  return {};
}

}  // namespace

std::string CompanionFile() {
  const fs::path file = fs::path(ModulePath(nullptr)).parent_path() / "ClrHostMemory.Companion.dll";
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return {};
  // The runtime would take a semicolon for the end of the path.
  const std::string path = ToUtf8(file);
  return path.find(';') == std::string::npos ? path : std::string();
}

StartProperties PropertiesWithCompanion(const CoreClrBridge& bridge, const PolicyOptions& policy,
                                        const std::string& companion, int count, const char* const* keys,
                                        const char* const* values, GcLimitFigures* figures) {
  StartProperties start = bridge.StartProperties(count, keys, values, policy.gc_limit,
                                                 policy.companion ? std::string_view(companion) : std::string_view());
  const auto value = [&start](std::string_view key) {
    return ValueOf(key, start.count(), start.keys(), start.values());
  };
  const std::string_view limit = value(kHardLimitProperty);
  std::from_chars(limit.data(), limit.data() + limit.size(), figures->at_start);
  if (policy.gc_limit != CLR_HOST_MEMORY_GC_LIMIT_AUTO) {
    figures->follows = GcFollows::kGivenLimit;
  } else if (value(kFollowProperty).empty()) {
    figures->follows = GcFollows::kLimitOfTheApp;
  } else if (!policy.companion) {
    figures->follows = GcFollows::kCompanionOff;
  } else if (!start.runtime_loads_companions()) {
    figures->follows = GcFollows::kOldRuntime;
  } else if (companion.empty()) {
    figures->follows = GcFollows::kNoCompanion;
  } else if (value("System.StartupHookProvider.IsSupported") == "false") {
    figures->follows = GcFollows::kHooksOff;
  } else {
    figures->follows = GcFollows::kYes;
  }
  return start;
}

}  // namespace clr_host_memory::tool
