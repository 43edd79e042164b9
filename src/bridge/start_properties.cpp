#include "bridge/start_properties.h"

#include <charconv>
#include <cstddef>
#include <cstring>
#include <new>
#include <system_error>

#include "bridge/bridge_client.h"

namespace clr_host_memory::bridge {
namespace {

// The machine's physical memory in bytes, when it is more than a bridged runtime is told; otherwise 0.
std::uint64_t PhysicalMemoryIfHidden(IClrHostMemoryClient* client) noexcept {
  MEMORYSTATUSEX machine{};
  machine.dwLength = sizeof(machine);
  ClrHostMemoryStatus told{};
  told.size = sizeof(told);
  const CallScope scope;
  if (client == nullptr && scope.client() != nullptr) client = scope.client()->ledger;
  if (client == nullptr || client->GetMemoryStatus(&told) != S_OK) return 0;
  return GlobalMemoryStatusEx(&machine) && told.total_physical < machine.ullTotalPhys ? machine.ullTotalPhys : 0;
}

bool IsSet(const wchar_t* variable) noexcept {
  std::array<wchar_t, 8> value{};
  const DWORD length = GetEnvironmentVariableW(variable, value.data(), static_cast<DWORD>(value.size()));
  return length == 1 && value[0] == L'1';
}

}  // namespace

StartProperties::StartProperties(int count, const char** keys, const char** values,
                                 IClrHostMemoryClient* client) noexcept
    : count_(count), keys_(keys), values_(values) {
  if (count < 0) return;
  const auto given = static_cast<std::size_t>(count);
  bool is_server = IsSet(L"DOTNET_gcServer") || IsSet(L"COMPlus_gcServer");
  for (std::size_t index = 0; index < given; ++index) {
    if (std::strcmp(keys[index], kRegionRangeProperty) == 0) return;
    const bool says_server = std::strcmp(keys[index], "System.GC.Server") == 0;
    is_server = is_server || (says_server && std::strcmp(values[index], "true") == 0);
  }
  const std::uint64_t physical_memory = PhysicalMemoryIfHidden(client);
  if (is_server || physical_memory == 0) return;

  const auto digits = std::to_chars(range_.data(), range_.data() + range_.size() - 1, RegionRange(physical_memory));
  own_.reset(new (std::nothrow) const char*[2 * (given + 1)]);
  if (digits.ec != std::errc{} || own_ == nullptr) return;
  keys_ = own_.get();
  values_ = keys_ + given + 1;
  std::copy_n(keys, given, keys_);
  std::copy_n(values, given, values_);
  keys_[given] = kRegionRangeProperty;
  values_[given] = range_.data();
  ++count_;
}

}  // namespace clr_host_memory::bridge
