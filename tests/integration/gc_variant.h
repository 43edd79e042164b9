// A configuration of a runtime: the GC, the way code is mapped, the compilation mode.
#ifndef CLRHM_TESTS_INTEGRATION_GC_VARIANT_H
#define CLRHM_TESTS_INTEGRATION_GC_VARIANT_H

#include <string>
#include <tuple>

#include "integration/clrmem_process.h"

namespace clrhm_test {

struct GcVariant {
  const char* name;
  Environment environment;
  const char* gc_module;  // a standalone GC that must be bridged, or null
};

inline const GcVariant kWorkstation{"Workstation", {}, nullptr};
inline const GcVariant kServerGc{"ServerGc", {{"DOTNET_gcServer", "1"}}, nullptr};
inline const GcVariant kStandaloneGc{"StandaloneGc", {{"DOTNET_GCName", "clrgc.dll"}}, "clrgc.dll"};
inline const GcVariant kWithoutConcurrentGc{"WithoutConcurrentGc", {{"DOTNET_gcConcurrent", "0"}}, nullptr};
inline const GcVariant kWriteXorExecuteOn{"WriteXorExecuteOn", {{"DOTNET_EnableWriteXorExecute", "1"}}, nullptr};
inline const GcVariant kWriteXorExecuteOff{"WriteXorExecuteOff", {{"DOTNET_EnableWriteXorExecute", "0"}}, nullptr};

// Names a test of a suite over runtimes and variants, such as net8_ServerGc.
struct VariantName {
  template <typename Tested>
  std::string operator()(const Tested& tested) const {
    return ShortName(std::get<0>(tested.param)) + "_" + std::get<1>(tested.param).name;
  }
};

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_INTEGRATION_GC_VARIANT_H
