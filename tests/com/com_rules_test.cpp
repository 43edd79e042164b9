// Tests the rules of COM: QueryInterface, reference counts, which object keeps which alive, and the host control.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "com/backend.h"
#include "manager_client.h"

namespace clr_host_memory::test {
namespace {

constexpr GUID kUnknownIid = {0x11111111, 0x2222, 0x3333, {4, 4, 4, 4, 4, 4, 4, 4}};

const GUID kManagerIids[] = {IID_IUnknown, kIidHostMemoryManager, kIidClrHostMemoryControl, kIidManagerBackend};

ULONG CountOf(IUnknown* object) {
  object->AddRef();
  return object->Release();
}

// Returns the interface iid of object as a raw pointer without its own reference.
IUnknown* Peek(IUnknown* object, const GUID& iid) {
  void* found = Poison();
  EXPECT_HR(S_OK, object->QueryInterface(iid, &found));
  auto* unknown = static_cast<IUnknown*>(found);
  if (unknown != nullptr) unknown->Release();
  return unknown;
}

TEST(QueryInterface, ReturnsOneIdentityFromEveryInterface) {
  const MemoryManager manager = MakeManager();
  IUnknown* const identity = Peek(manager.get(), IID_IUnknown);
  for (const GUID& iid : kManagerIids) EXPECT_EQ(identity, Peek(Peek(manager.get(), iid), IID_IUnknown));
}

TEST(QueryInterface, IsReflexiveSymmetricAndTransitive) {
  const MemoryManager manager = MakeManager();
  for (const GUID& from : kManagerIids) {
    IUnknown* const first = Peek(manager.get(), from);
    EXPECT_EQ(first, Peek(first, from));
    for (const GUID& to : kManagerIids) {
      IUnknown* const second = Peek(first, to);
      EXPECT_EQ(first, Peek(second, from));
      for (const GUID& further : kManagerIids) EXPECT_EQ(Peek(first, further), Peek(second, further));
    }
  }
}

TEST(QueryInterface, ClearsOutputForAnUnknownInterface) {
  const MemoryManager manager = MakeManager();
  ComReference<IHostMalloc> heap;
  ASSERT_HR(S_OK, manager.get()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()));
  const auto host_control = CreateHostControl(manager).value();
  for (IUnknown* object : std::vector<IUnknown*>{manager.get(), manager.control(), heap.get(), host_control.get()}) {
    const ULONG before = CountOf(object);
    void* found = Poison();
    EXPECT_HR(E_NOINTERFACE, object->QueryInterface(kUnknownIid, &found));
    EXPECT_EQ(nullptr, found);
    EXPECT_HR(E_POINTER, object->QueryInterface(IID_IUnknown, nullptr));
    EXPECT_HR(E_POINTER, object->QueryInterface(kUnknownIid, nullptr));
    EXPECT_EQ(before, CountOf(object));
  }
}

TEST(QueryInterface, HeapSupportsItsThreeInterfaces) {
  const MemoryManager manager = MakeManager();
  ComReference<IHostMalloc> heap;
  ASSERT_HR(S_OK, manager.get()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()));
  EXPECT_EQ(heap.get(), Peek(heap.get(), kIidHostMalloc));
  EXPECT_EQ(Peek(heap.get(), IID_IUnknown), Peek(Peek(heap.get(), kIidHostMalloc), IID_IUnknown));
  IUnknown* const more = Peek(heap.get(), kIidClrHostMemoryHeap);
  ASSERT_NE(nullptr, more);
  EXPECT_EQ(Peek(heap.get(), IID_IUnknown), Peek(more, IID_IUnknown));
  EXPECT_EQ(heap.get(), Peek(more, kIidHostMalloc));
  void* found = Poison();
  EXPECT_HR(E_NOINTERFACE, heap->QueryInterface(kIidHostMemoryManager, &found));
}

TEST(References, AllInterfacesShareOneCount) {
  void* made = nullptr;
  ASSERT_HR(S_OK, ClrHostMemoryCreate(nullptr, kIidHostMemoryManager, &made, nullptr));
  auto* manager = static_cast<IHostMemoryManager*>(made);
  EXPECT_EQ(2u, manager->AddRef());
  EXPECT_EQ(1u, manager->Release());
  {
    const auto control = ControlOf(manager);
    const auto client = Query<IManagerBackend>(manager, kIidManagerBackend);
    EXPECT_EQ(4u, manager->AddRef());
    EXPECT_EQ(3u, control->Release());
  }
  EXPECT_EQ(0u, manager->Release());
}

TEST(References, HeapKeepsItsManagerAlive) {
  ComReference<IHostMalloc> heap;
  {
    const MemoryManager manager = MakeManager();
    ASSERT_HR(S_OK, manager.get()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()));
  }
  void* block = nullptr;
  EXPECT_HR(S_OK, heap->Alloc(100, eTaskCritical, &block));
  EXPECT_HR(S_OK, heap->Free(block));
  EXPECT_EQ(0u, heap.Detach()->Release());
}

TEST(References, LastHeapReleaseUnchargesLiveBlocks) {
  const MemoryManager manager = MakeManager();
  const ULONG before = CountOf(manager.get());
  ComReference<IHostMalloc> heap;
  ASSERT_HR(S_OK, manager.get()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()));
  EXPECT_EQ(before + 1, CountOf(manager.get()));
  void* block = nullptr;
  ASSERT_HR(S_OK, heap->Alloc(1000, eTaskCritical, &block));
  EXPECT_LE(std::uint64_t{1000}, manager.Statistics().heap_bytes);
  heap.Reset();
  EXPECT_EQ(std::uint64_t{0}, manager.Statistics().heap_bytes);
  EXPECT_EQ(std::uint64_t{0}, manager.Statistics().charged);
  EXPECT_EQ(before, CountOf(manager.get()));
}

// ---- a callback with a reference count; a CLR's callback counts nothing

class CountedCallback final : public ICLRMemoryNotificationCallback {
 public:
  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID, void**) noexcept override { return E_NOINTERFACE; }
  ULONG STDMETHODCALLTYPE AddRef() noexcept override { return ++references; }
  ULONG STDMETHODCALLTYPE Release() noexcept override { return --references; }
  HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable value) noexcept override {
    const std::lock_guard lock(mutex);  // the manager's own thread notifies it, too
    seen.push_back(value);
    return S_OK;
  }
  std::atomic<ULONG> references = 1;
  std::mutex mutex;
  std::vector<EMemoryAvailable> seen;
};

TEST(NotificationCallback, IsReferencedUntilReplaced) {
  CountedCallback first;
  CountedCallback second;
  {
    const MemoryManager manager = MakeManager();
    EXPECT_HR(S_FALSE, manager.control()->NotifyMemoryAvailable(eMemoryAvailableLow));
    ASSERT_HR(S_OK, manager.get()->RegisterMemoryNotificationCallback(&first));
    EXPECT_EQ(2u, first.references.load());
    EXPECT_HR(S_OK, manager.control()->NotifyMemoryAvailable(eMemoryAvailableLow));
    EXPECT_EQ(2u, first.references.load());
    ASSERT_HR(S_OK, manager.get()->RegisterMemoryNotificationCallback(&second));
    EXPECT_EQ(1u, first.references.load());
    EXPECT_HR(S_OK, manager.control()->NotifyMemoryAvailable(eMemoryAvailableHigh));
    for (const int none : {0, 4, -1}) {
      EXPECT_HR(E_INVALIDARG, manager.control()->NotifyMemoryAvailable(static_cast<EMemoryAvailable>(none)));
    }
    EXPECT_EQ(2u, second.references.load());
  }
  EXPECT_EQ(1u, second.references.load());
  // The last notification of a replaced callback must not be Low.
  EXPECT_NE(first.seen.end(), std::find(first.seen.begin(), first.seen.end(), eMemoryAvailableLow));
  EXPECT_NE(eMemoryAvailableLow, first.seen.back());
  EXPECT_NE(second.seen.end(), std::find(second.seen.begin(), second.seen.end(), eMemoryAvailableHigh));
}

// ---- IHostControl

class InnerControl final : public IHostControl {
 public:
  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID, void**) noexcept override { return E_NOINTERFACE; }
  ULONG STDMETHODCALLTYPE AddRef() noexcept override { return ++references; }
  ULONG STDMETHODCALLTYPE Release() noexcept override { return --references; }
  HRESULT STDMETHODCALLTYPE GetHostManager(REFIID riid, void** object) noexcept override {
    asked.push_back(riid);
    if (!IsEqualGUID(riid, kUnknownIid)) return E_NOINTERFACE;
    *object = this;
    AddRef();
    return S_OK;
  }
  HRESULT STDMETHODCALLTYPE SetAppDomainManager(DWORD id, IUnknown* manager) noexcept override {
    app_domain_id = id;
    app_domain_manager = manager;
    return E_ABORT;
  }
  ULONG references = 1;
  std::vector<GUID> asked;
  DWORD app_domain_id = 0;
  IUnknown* app_domain_manager = nullptr;
};

TEST(HostControl, ReturnsTheManagerAndForwardsOtherRequests) {
  const MemoryManager manager = MakeManager();
  InnerControl inner;
  const auto control = CreateHostControl(manager, &inner).value();
  void* found = Poison();
  ASSERT_HR(S_OK, control->GetHostManager(kIidHostMemoryManager, &found));
  EXPECT_EQ(manager.get(), found);
  manager.get()->Release();
  EXPECT_TRUE(inner.asked.empty());

  ASSERT_HR(S_OK, control->GetHostManager(kUnknownIid, &found));
  EXPECT_EQ(static_cast<IHostControl*>(&inner), found);
  inner.Release();
  found = Poison();
  EXPECT_HR(E_NOINTERFACE, control->GetHostManager(kIidHostMalloc, &found));
  EXPECT_EQ(nullptr, found);
  EXPECT_EQ(2u, inner.asked.size());
}

TEST(HostControl, ForwardsTheAppDomainManagerAndReturnsTheResult) {
  const MemoryManager manager = MakeManager();
  InnerControl inner;
  const auto control = CreateHostControl(manager, &inner).value();
  EXPECT_HR(E_ABORT, control->SetAppDomainManager(17, manager.get()));
  EXPECT_EQ(17u, inner.app_domain_id);
  EXPECT_EQ(static_cast<IUnknown*>(manager.get()), inner.app_domain_manager);
}

TEST(HostControl, RefusesOtherManagersWithoutAnInnerControl) {
  const MemoryManager manager = MakeManager();
  const auto control = CreateHostControl(manager).value();
  void* found = Poison();
  EXPECT_HR(E_NOINTERFACE, control->GetHostManager(kUnknownIid, &found));
  EXPECT_EQ(nullptr, found);
  EXPECT_HR(E_POINTER, control->GetHostManager(kIidHostMemoryManager, nullptr));
  EXPECT_HR(S_OK, control->SetAppDomainManager(1, nullptr));
}

TEST(HostControl, ReferencesBothObjectsUntilReleased) {
  const MemoryManager manager = MakeManager();
  InnerControl inner;
  const ULONG before = CountOf(manager.get());
  auto control = CreateHostControl(manager, &inner).value();
  EXPECT_EQ(before + 1, CountOf(manager.get()));
  EXPECT_EQ(2u, inner.references);
  EXPECT_EQ(control.get(), Peek(control.get(), kIidHostControl));
  EXPECT_EQ(Peek(control.get(), IID_IUnknown), Peek(Peek(control.get(), kIidHostControl), IID_IUnknown));
  EXPECT_EQ(0u, control.Detach()->Release());
  EXPECT_EQ(before, CountOf(manager.get()));
  EXPECT_EQ(1u, inner.references);
}

TEST(HostControl, RefusesNullManagerAndNullOutput) {
  const MemoryManager manager = MakeManager();
  auto* control = static_cast<IHostControl*>(Poison());
  EXPECT_HR(E_POINTER, ClrHostMemoryCreateHostControl(nullptr, nullptr, &control));
  EXPECT_EQ(nullptr, control);
  EXPECT_HR(E_POINTER, ClrHostMemoryCreateHostControl(manager.get(), nullptr, nullptr));
}

}  // namespace
}  // namespace clr_host_memory::test
