// Tests the binary interface: IIDs as text, struct sizes, vtable slots called by number, and a client in C.
#include <clr_host_memory/bridge_abi.h>
#include <objbase.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "c_client.h"
#include "com/backend.h"
#include "manager_client.h"

namespace clr_host_memory::test {
namespace {

std::string TextOf(const GUID& guid) {
  char text[40];
  std::snprintf(text, sizeof(text), "{%08lX-%04X-%04X-%02X%02X-%02X%02X%02X%02X%02X%02X}",
                static_cast<unsigned long>(guid.Data1), guid.Data2, guid.Data3, guid.Data4[0], guid.Data4[1],
                guid.Data4[2], guid.Data4[3], guid.Data4[4], guid.Data4[5], guid.Data4[6], guid.Data4[7]);
  return text;
}

TEST(Abi, IidsMatchTheDocumentation) {
  EXPECT_EQ("{7BC698D1-F9E3-4460-9CDE-D04248E9FA25}", TextOf(kIidHostMemoryManager));
  EXPECT_EQ("{1831991C-CC53-4A31-B218-04E910446479}", TextOf(kIidHostMalloc));
  EXPECT_EQ("{47EB8E57-0846-4546-AF76-6F42FCFC2649}", TextOf(kIidClrMemoryNotificationCallback));
  EXPECT_EQ("{02CA073C-7079-4860-880A-C2F7A449C991}", TextOf(kIidHostControl));
  // The library's own interfaces. An interface that changes receives a new IID.
  EXPECT_EQ("{5D0B7E12-3C4F-4B9A-8E21-6A97D40F5BC3}", TextOf(kIidClrHostMemoryControl));
  EXPECT_EQ("{E4A90C37-5B1D-4F62-9D08-73C5B6A1F2E4}", TextOf(kIidManagerBackend));
  EXPECT_EQ("{06158559-1AFF-436F-9904-CD209CF99E68}", TextOf(kIidClrHostMemoryEventSink));
  EXPECT_EQ("{5B0E3D71-6C48-4F9A-8E27-D14A930C75E6}", TextOf(kIidClrHostMemoryBridge));
}

TEST(Abi, EnumsAndErrorsHaveTheDocumentedValues) {
  EXPECT_EQ(0, eTaskCritical);
  EXPECT_EQ(1, eAppDomainCritical);
  EXPECT_EQ(2, eProcessCritical);
  EXPECT_EQ(1, eMemoryAvailableLow);
  EXPECT_EQ(2, eMemoryAvailableNeutral);
  EXPECT_EQ(3, eMemoryAvailableHigh);
  EXPECT_EQ(1, MALLOC_THREADSAFE);
  EXPECT_EQ(2, MALLOC_EXECUTABLE);
  EXPECT_HR(static_cast<HRESULT>(0x80131022), HOST_E_INVALIDOPERATION);
  EXPECT_HR(static_cast<HRESULT>(0x80131023), HOST_E_CLRNOTAVAILABLE);
  EXPECT_HR(static_cast<HRESULT>(0x80131024), HOST_E_TIMEOUT);
  EXPECT_HR(static_cast<HRESULT>(0x80131025), HOST_E_NOT_OWNER);
  EXPECT_HR(static_cast<HRESULT>(0x80131026), HOST_E_ABANDONED);
}

TEST(Abi, StructSizesStayBinaryCompatible) {
  EXPECT_EQ(64u + 24 + 8, sizeof(ClrHostMemoryOptions));
  EXPECT_EQ(8u + 13 * 8 + (13 * 10 + 3 * 10 + 3) * 8 + 24 + (2 + 3 + 1 + 4 * 3 + 5 + 4) * 8 + 8 + 8 + 4 * 8,
            sizeof(ClrHostMemoryStatistics));
  EXPECT_EQ(8u + 5 * 8, sizeof(ClrHostMemoryAudit));
}

// ---- vtable slots by number, as a CLR compiled against the SDK's header calls them

using Slot = void*;
Slot SlotOf(void* object, int index) { return (*static_cast<Slot**>(object))[index]; }
template <typename Function>
Function As(void* object, int index) {
  return reinterpret_cast<Function>(SlotOf(object, index));
}

class Slots : public ::testing::Test {
 protected:
  // Returns the method that ran since the last call: the one method whose call counters changed.
  ClrHostMemoryMethod MethodThatRan() {
    const auto now = StatisticsOf(manager_.get());
    int moved = kClrHostMemoryMethodCount;
    for (int method = 0; method < kClrHostMemoryMethodCount; ++method) {
      if (std::memcmp(now.calls[method], last_.calls[method], sizeof(now.calls[method])) == 0) continue;
      EXPECT_EQ(kClrHostMemoryMethodCount, moved) << "two counters moved";
      moved = method;
    }
    last_ = now;
    return static_cast<ClrHostMemoryMethod>(moved);
  }

  MemoryManager manager_ = MakeManager();
  void* object_ = manager_.get();
  ClrHostMemoryStatistics last_ = StatisticsOf(manager_.get());
};

TEST_F(Slots, ZeroToTwoAreIUnknown) {
  using Counter = ULONG(STDMETHODCALLTYPE*)(void*);
  using Asker = HRESULT(STDMETHODCALLTYPE*)(void*, const GUID*, void**);
  const ULONG before = As<Counter>(object_, 1)(object_);
  EXPECT_EQ(before - 1, As<Counter>(object_, 2)(object_));
  void* same = nullptr;
  EXPECT_HR(S_OK, As<Asker>(object_, 0)(object_, &kIidHostMemoryManager, &same));
  EXPECT_EQ(object_, same);
  EXPECT_EQ(before - 1, As<Counter>(object_, 2)(object_));
}

TEST_F(Slots, ThreeToTwelveFollowTheDocumentedOrder) {
  void* heap = nullptr;
  EXPECT_HR(S_OK, (As<HRESULT(STDMETHODCALLTYPE*)(void*, DWORD, void**)>(object_, 3)(object_, 1, &heap)));
  EXPECT_EQ(kClrHostMemoryCreateMalloc, MethodThatRan());

  void* memory = nullptr;
  using Alloc = HRESULT(STDMETHODCALLTYPE*)(void*, void*, SIZE_T, DWORD, DWORD, int, void**);
  EXPECT_HR(S_OK, As<Alloc>(object_, 4)(object_, nullptr, kPage, MEM_COMMIT, PAGE_READWRITE, 0, &memory));
  EXPECT_EQ(kClrHostMemoryVirtualAlloc, MethodThatRan());

  MEMORY_BASIC_INFORMATION info{};
  SIZE_T written = 0;
  using Queried = HRESULT(STDMETHODCALLTYPE*)(void*, void*, void*, SIZE_T, SIZE_T*);
  EXPECT_HR(S_OK, As<Queried>(object_, 6)(object_, memory, &info, sizeof(info), &written));
  EXPECT_EQ(kClrHostMemoryVirtualQuery, MethodThatRan());
  EXPECT_EQ(memory, info.BaseAddress);

  DWORD old = 0;
  using Protect = HRESULT(STDMETHODCALLTYPE*)(void*, void*, SIZE_T, DWORD, DWORD*);
  EXPECT_HR(S_OK, As<Protect>(object_, 7)(object_, memory, kPage, PAGE_READONLY, &old));
  EXPECT_EQ(kClrHostMemoryVirtualProtect, MethodThatRan());
  EXPECT_EQ(DWORD{PAGE_READWRITE}, old);

  using Free = HRESULT(STDMETHODCALLTYPE*)(void*, void*, SIZE_T, DWORD);
  EXPECT_HR(S_OK, As<Free>(object_, 5)(object_, memory, 0, MEM_RELEASE));
  EXPECT_EQ(kClrHostMemoryVirtualFree, MethodThatRan());

  SIZE_T available = 0;
  EXPECT_HR(S_OK, (As<HRESULT(STDMETHODCALLTYPE*)(void*, DWORD*, SIZE_T*)>(object_, 8)(object_, &old, &available)));
  EXPECT_EQ(kClrHostMemoryGetMemoryLoad, MethodThatRan());
  EXPECT_GT(available, SIZE_T{0});

  using OnePointer = HRESULT(STDMETHODCALLTYPE*)(void*, void*);
  using PointerAndSize = HRESULT(STDMETHODCALLTYPE*)(void*, void*, SIZE_T);
  EXPECT_HR(S_OK, As<OnePointer>(object_, 9)(object_, nullptr));
  EXPECT_EQ(kClrHostMemoryRegisterMemoryNotificationCallback, MethodThatRan());
  EXPECT_HR(E_OUTOFMEMORY, As<PointerAndSize>(object_, 10)(object_, nullptr, kPage));
  EXPECT_EQ(kClrHostMemoryNeedsVirtualAddressSpace, MethodThatRan());
  auto* const view = reinterpret_cast<void*>(static_cast<std::uintptr_t>(0x40000000));
  EXPECT_HR(S_OK, As<PointerAndSize>(object_, 11)(object_, view, kPage));
  EXPECT_EQ(kClrHostMemoryAcquiredVirtualAddressSpace, MethodThatRan());
  EXPECT_HR(S_OK, As<OnePointer>(object_, 12)(object_, view));
  EXPECT_EQ(kClrHostMemoryReleasedVirtualAddressSpace, MethodThatRan());

  static_cast<IUnknown*>(heap)->Release();
}

TEST_F(Slots, IHostMallocThreeToFiveAreAllocDebugAllocFree) {
  ComReference<IHostMalloc> heap;
  ASSERT_HR(S_OK, manager_.get()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()));
  static_cast<void>(MethodThatRan());
  void* const object = heap.get();
  void* block = nullptr;
  EXPECT_HR(S_OK, (As<HRESULT(STDMETHODCALLTYPE*)(void*, SIZE_T, int, void**)>(object, 3)(object, 10, 0, &block)));
  EXPECT_EQ(kClrHostMemoryMallocAlloc, MethodThatRan());
  using Free = HRESULT(STDMETHODCALLTYPE*)(void*, void*);
  EXPECT_HR(S_OK, As<Free>(object, 5)(object, block));
  EXPECT_EQ(kClrHostMemoryMallocFree, MethodThatRan());
  using DebugAlloc = HRESULT(STDMETHODCALLTYPE*)(void*, SIZE_T, int, const char*, int, void**);
  EXPECT_HR(S_OK, As<DebugAlloc>(object, 4)(object, 10, 0, "file.cpp", 42, &block));
  EXPECT_EQ(kClrHostMemoryMallocDebugAlloc, MethodThatRan());
  EXPECT_HR(S_OK, As<Free>(object, 5)(object, block));
}

// A callback laid out as another compiler would: a plain table of functions.
struct RawCallback {
  void* const* vtable;
  int calls;
  int available;
};
HRESULT STDMETHODCALLTYPE RawQueryInterface(RawCallback*, const GUID*, void**) { return E_NOINTERFACE; }
ULONG STDMETHODCALLTYPE RawCount(RawCallback*) { return 1; }
HRESULT STDMETHODCALLTYPE RawOnMemoryNotification(RawCallback* self, int available) {
  ++self->calls;
  self->available = available;
  return S_OK;
}

TEST_F(Slots, NotificationCallbackIsCalledThroughSlotThree) {
  void* const table[] = {reinterpret_cast<void*>(&RawQueryInterface), reinterpret_cast<void*>(&RawCount),
                         reinterpret_cast<void*>(&RawCount), reinterpret_cast<void*>(&RawOnMemoryNotification)};
  RawCallback callback{table, 0, 0};
  ASSERT_HR(S_OK, manager_.get()->RegisterMemoryNotificationCallback(
                      reinterpret_cast<ICLRMemoryNotificationCallback*>(&callback)));
  ASSERT_HR(S_OK, ControlOf(manager_.get())->NotifyMemoryAvailable(eMemoryAvailableHigh));
  EXPECT_EQ(1, callback.calls);
  EXPECT_EQ(eMemoryAvailableHigh, callback.available);
  ASSERT_HR(S_OK, manager_.get()->RegisterMemoryNotificationCallback(nullptr));
}

TEST(CClient, UsesTheInterfacesFromC) { EXPECT_EQ(0, RunCClient()) << "line of c_client.c"; }

}  // namespace
}  // namespace clr_host_memory::test
