#include "bridge/start/start_properties.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "bridge/state/bridge_client.h"
#include "com/backend.h"

namespace clr_host_memory {
namespace {

// What the currently bridged manager contributes to the properties; all 0 if there is none.
struct StartFigures {
  std::uint64_t physical_memory = 0;  // bytes of the machine
  bool hides_memory = false;          // a bridged runtime receives less
  std::uint64_t gc_limit = 0;         // bytes that the limit leaves to a GC at its start; 0: no limit
};

StartFigures FiguresAtStart() noexcept {
  StartFigures figures;
  const CallScope scope;
  if (scope.client() == nullptr) return figures;
  BackendMemoryStatus told{};
  told.size = sizeof(told);
  if (scope.client()->backend->GetMemoryStatus(&told) != S_OK) return figures;
  figures.gc_limit = told.gc_limit_at_start == CLR_HOST_MEMORY_NO_LIMIT ? 0 : told.gc_limit_at_start;
  MEMORYSTATUSEX machine{};
  machine.dwLength = sizeof(machine);
  if (GlobalMemoryStatusEx(&machine)) figures.physical_memory = machine.ullTotalPhys;
  figures.hides_memory = told.total_physical < figures.physical_memory;
  return figures;
}

bool Exists(const wchar_t* variable) noexcept { return GetEnvironmentVariableW(variable, nullptr, 0) != 0; }

bool IsSet(const wchar_t* variable) noexcept {
  std::array<wchar_t, 8> value{};
  const DWORD length = GetEnvironmentVariableW(variable, value.data(), static_cast<DWORD>(value.size()));
  return length == 1 && value[0] == L'1';
}

// Returns whether the environment gives the GC its own limit, by any of the variables that the GC reads
// (clrconfignames.h, gcconfig.h).
bool EnvironmentLimitsGc() noexcept {
  constexpr std::array<const wchar_t*, 10> kLimits{
      L"DOTNET_GCHeapHardLimit",           L"DOTNET_GCHeapHardLimitPercent",    L"DOTNET_GCHeapHardLimitSOH",
      L"DOTNET_GCTotalPhysicalMemory",     L"DOTNET_GCHeapHardLimitSOHPercent", L"COMPlus_GCHeapHardLimit",
      L"COMPlus_GCHeapHardLimitPercent",   L"COMPlus_GCTotalPhysicalMemory",    L"COMPlus_GCHeapHardLimitSOH",
      L"COMPlus_GCHeapHardLimitSOHPercent"};
  return std::any_of(kLimits.begin(), kLimits.end(), Exists);
}

template <std::size_t kSize>
void Add(const char (&key)[kSize], std::uint64_t value, ClrHostMemoryStartProperties* additions) noexcept {
  ClrHostMemoryStartProperty& property = additions->properties[additions->count++];
  static_assert(kSize <= sizeof(property.key));
  std::copy_n(key, kSize, property.key);
  // The runtime reads numbers as strtoull does, so decimal numbers stay decimal. They have at most 20 digits; the rest
  // is zero.
  std::to_chars(property.value, property.value + sizeof(property.value) - 1, value);
}

// The manager whose address a runtime received last, with a reference for managed code. That code can call the manager
// after Detach, and until the process ends, so the reference is never released.
constinit std::atomic<IClrHostMemoryControl*> kept_control{nullptr};

void AddControl(ClrHostMemoryStartProperties* additions) noexcept {
  ComReference<IClrHostMemoryControl> control = ControlOfManager();
  if (!control) return;
  ClrHostMemoryStartProperty& property = additions->properties[additions->count++];
  std::copy_n(kControlProperty, sizeof(kControlProperty), property.key);
  char* const end = property.value + sizeof(property.value) - 1;
  char* at = std::to_chars(property.value, end, GetCurrentProcessId()).ptr;
  for (const char separator : {':', '0', 'x'}) *at++ = separator;
  std::to_chars(at, end, reinterpret_cast<std::uintptr_t>(control.get()), 16);
  if (kept_control.exchange(control.get()) != control.get()) static_cast<void>(control.Detach());
}

}  // namespace

ClrHostMemoryStartProperties AddedStartProperties(std::uint32_t count, const char* const* keys,
                                                  const char* const* values, std::uint64_t gc_hard_limit,
                                                  std::uint64_t* start_limit) noexcept {
  bool is_server = IsSet(L"DOTNET_gcServer") || IsSet(L"COMPlus_gcServer");
  // With large pages the range is committed when it is reserved: the GC makes it as large as its hard limit needs.
  bool large_pages = IsSet(L"DOTNET_GCLargePages") || IsSet(L"COMPlus_GCLargePages");
  bool has_range = false;
  bool has_limit = EnvironmentLimitsGc();
  bool has_control = false;
  for (std::size_t index = 0; index < count; ++index) {
    has_range = has_range || std::strcmp(keys[index], kRegionRangeProperty) == 0;
    has_control = has_control || std::strcmp(keys[index], kControlProperty) == 0;
    // Also matches HeapHardLimitPercent, HeapHardLimitSOH and similar keys.
    has_limit = has_limit || std::strncmp(keys[index], kHardLimitProperty, sizeof(kHardLimitProperty) - 1) == 0;
    const bool says_server = std::strcmp(keys[index], "System.GC.Server") == 0;
    is_server = is_server || (says_server && std::strcmp(values[index], "true") == 0);
    const bool says_large = std::strcmp(keys[index], "System.GC.LargePages") == 0;
    large_pages = large_pages || (says_large && std::strcmp(values[index], "true") == 0);
  }
  const bool follows = gc_hard_limit == CLR_HOST_MEMORY_GC_LIMIT_AUTO;
  const StartFigures figures = FiguresAtStart();
  if (follows) gc_hard_limit = figures.gc_limit;
  const bool adds_limit = gc_hard_limit != 0 && !has_limit;
  const bool sizes_range_itself = has_range || large_pages || has_limit || figures.physical_memory == 0;
  // The GC reserves its range once, so a limit that will be raised needs a range for more than itself.
  const bool will_be_raised = follows && adds_limit;
  const bool needs_machines_range = !adds_limit && !is_server && figures.hides_memory;

  ClrHostMemoryStartProperties additions{};
  if (!sizes_range_itself && will_be_raised) {
    Add(kRegionRangeProperty, RegionRangeOfLimit(gc_hard_limit, figures.physical_memory), &additions);
    // A server GC divides its range among its heaps, at most one for each processor.
    const std::uint64_t heaps = is_server ? std::max(GetActiveProcessorCount(ALL_PROCESSOR_GROUPS), DWORD{1}) : 1;
    Add(kRegionSizeProperty, RegionSizeOfLimit(gc_hard_limit, heaps), &additions);
  } else if (!sizes_range_itself && needs_machines_range) {
    Add(kRegionRangeProperty, RegionRange(figures.physical_memory), &additions);
  }
  if (adds_limit) Add(kHardLimitProperty, gc_hard_limit, &additions);
  if (!has_control) AddControl(&additions);
  additions.gc_limit_follows = follows && !has_limit ? 1 : 0;
  *start_limit = additions.gc_limit_follows == 0 ? 0 : adds_limit ? gc_hard_limit : UINT64_MAX;
  return additions;
}

}  // namespace clr_host_memory
