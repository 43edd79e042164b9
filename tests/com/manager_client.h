// Shared by the suites of this folder: a manager made through the public entry, and access to its statistics. Uses
// the public interface only, so that suites that run against the DLL can use it.
#ifndef CLRHM_TESTS_COM_MANAGER_CLIENT_H
#define CLRHM_TESTS_COM_MANAGER_CLIENT_H

#include <clr_host_memory/memory_manager.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>

namespace clr_host_memory::test {

// Returns the value of an out parameter before a call. The desktop CLR does not initialise ppMem, so a failed call
// must clear it.
inline void* Poison() { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(0xDEADDEAD)); }

// The thread's last error before a call. No Win32 function sets this number.
inline constexpr DWORD kCallersError = 0xC0FFEE;

inline constexpr SIZE_T kPage = 0x1000;
inline constexpr SIZE_T kGranule = 0x10000;
inline constexpr SIZE_T kMiB = 0x100000;

inline char* At(void* base, SIZE_T offset) { return static_cast<char*>(base) + offset; }

// An HRESULT, printed as the headers write it.
struct Hr {
  HRESULT value;
  friend bool operator==(Hr, Hr) = default;
  friend std::ostream& operator<<(std::ostream& out, Hr hr) {
    const std::ios_base::fmtflags flags = out.flags();
    out << "0x" << std::hex << static_cast<unsigned long>(hr.value);
    out.flags(flags);
    return out;
  }
};

#define EXPECT_HR(expected, actual) \
  EXPECT_EQ(::clr_host_memory::test::Hr{expected}, ::clr_host_memory::test::Hr{actual})
#define ASSERT_HR(expected, actual) \
  ASSERT_EQ(::clr_host_memory::test::Hr{expected}, ::clr_host_memory::test::Hr{actual})

template <typename Interface>
ComReference<Interface> Query(IUnknown* object, const GUID& iid) {
  ComReference<Interface> found;
  if (object != nullptr) object->QueryInterface(iid, reinterpret_cast<void**>(found.Receive()));
  return found;
}

inline ComReference<IClrHostMemoryControl> ControlOf(IUnknown* manager) {
  return Query<IClrHostMemoryControl>(manager, kIidClrHostMemoryControl);
}

inline ClrHostMemoryStatistics StatisticsOf(IUnknown* manager) {
  ClrHostMemoryStatistics statistics{};
  statistics.size = sizeof(statistics);
  EXPECT_HR(S_OK, ControlOf(manager)->GetStatistics(&statistics));
  return statistics;
}

// Succeeds if the ledger agrees with VirtualQuery on every page and no page is in flight.
inline ::testing::AssertionResult LedgerIsExact(IUnknown* manager) {
  ClrHostMemoryAudit audit{};
  audit.size = sizeof(audit);
  if (const HRESULT hr = ControlOf(manager)->Audit(&audit); hr != S_OK) {
    return ::testing::AssertionFailure() << "Audit: " << Hr{hr};
  }
  if (audit.mismatch == 0 && audit.in_flight == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "mismatch " << audit.mismatch << " bytes, in flight " << audit.in_flight
                                       << "; charged " << audit.charged << ", committed " << audit.committed
                                       << ", charge " << StatisticsOf(manager).charged;
}

// Returns a manager over Windows, made through the public C++ wrapper.
inline MemoryManager MakeManager(const MemoryManagerOptions& options = {}) {
  return CreateMemoryManager(options).value();
}

// Allocates as a CLR does: with a poisoned result, which must be null unless the call returns S_OK.
inline void* Allocate(IHostMemoryManager* manager, void* address, SIZE_T size, DWORD type, DWORD protect,
                      EMemoryCriticalLevel level = eTaskCritical) {
  void* memory = Poison();
  const HRESULT hr = manager->VirtualAlloc(address, size, type, protect, level, &memory);
  EXPECT_EQ(hr == S_OK, memory != nullptr) << Hr{hr};
  return memory;
}

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_COM_MANAGER_CLIENT_H
