#include "bridge/heap_owners.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <new>
#include <vector>

#include "bridge/bridge_client.h"
#include "bridge/import_patch.h"
#include "bridge/module_files.h"
#include "bridge/thunk_support.h"

namespace clr_host_memory::bridge {
namespace {

constexpr std::size_t kMostHeaps = 64;
constexpr DWORD kQuietMilliseconds = 1000;

// handle: of the process heap or of HeapCreate; null once no new blocks are to come from the heap.
struct Owner {
  std::atomic<IClrHostMemoryHeap*> heap{nullptr};
  std::atomic<HANDLE> handle{nullptr};
};

constinit std::array<Owner, kMostHeaps> owners{};
constinit std::atomic<std::size_t> owner_count{0};  // entries that were ever used
constinit std::array<IClrHostMemoryHeap*, kMostHeaps> parked{};
constinit std::size_t parked_count = 0;
constinit SRWLOCK owners_lock = SRWLOCK_INIT;   // for those who change the table, or what is parked; a leaf
constinit SRWLOCK borders_lock = SRWLOCK_INIT;  // for those who change the borders; may be held over the loader's lock
// Never destroyed: threads may come through the imports for as long as the process lives.
constinit std::vector<ImportPatch>* borders = nullptr;
constinit std::atomic<void*> original_free{nullptr};
constinit std::atomic<void*> original_reallocate{nullptr};
constinit std::atomic<void*> original_size{nullptr};

class Locked {
 public:
  explicit Locked(SRWLOCK& lock) noexcept : lock_(lock) { AcquireSRWLockExclusive(&lock_); }
  ~Locked() { ReleaseSRWLockExclusive(&lock_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  SRWLOCK& lock_;
};

// Calls visit(heap) for every heap until it returns true; whether it did. Nearly always there is one.
template <typename Visitor>
bool FindOwner(Visitor visit) noexcept {
  const std::size_t count = owner_count.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    IClrHostMemoryHeap* heap = owners[i].heap.load(std::memory_order_seq_cst);
    if (heap != nullptr && visit(*heap)) return true;
  }
  return false;
}

// As HeapAlloc refuses: the last error, or the exception that flags ask for.
void* Refuse(HANDLE heap, DWORD flags) {
  constexpr SIZE_T kMoreThanThereIs = SIZE_MAX / 2;
  return ::HeapAlloc(heap, flags & HEAP_GENERATE_EXCEPTIONS, kMoreThanThereIs);
}

BOOL WINAPI BorderHeapFree(HANDLE heap, DWORD flags, LPVOID memory) {
  if (memory != nullptr) {
    const CallScope scope;
    if (FreeIfOwned(memory)) return TRUE;
  }
  return reinterpret_cast<decltype(&::HeapFree)>(original_free.load(std::memory_order_acquire))(heap, flags, memory);
}

LPVOID WINAPI BorderHeapReAlloc(HANDLE heap, DWORD flags, LPVOID memory, SIZE_T size) {
  bool owned = false;
  void* moved = nullptr;
  {
    const CallScope scope;
    const DWORD error_before = GetLastError();
    const uint32_t zero = (flags & HEAP_ZERO_MEMORY) != 0 ? kClrHostMemoryHeapZero : kClrHostMemoryHeapZeroBeyond;
    const uint32_t in_place = (flags & HEAP_REALLOC_IN_PLACE_ONLY) != 0 ? kClrHostMemoryHeapInPlace : 0;
    owned = memory != nullptr && FindOwner([&](IClrHostMemoryHeap& owner) {
      return owner.Reallocate(memory, size, zero | in_place, eProcessCritical, &moved) != S_FALSE;
    });
    if (moved != nullptr || !owned) SetLastError(error_before);
  }
  if (moved != nullptr) return moved;
  if (owned) return Refuse(heap, flags);
  return reinterpret_cast<decltype(&::HeapReAlloc)>(original_reallocate.load(std::memory_order_acquire))(heap, flags,
                                                                                                         memory, size);
}

SIZE_T WINAPI BorderHeapSize(HANDLE heap, DWORD flags, LPCVOID memory) {
  {
    const CallScope scope;
    SIZE_T size = 0;
    if (FindOwner([&](IClrHostMemoryHeap& owner) { return owner.GetSize(memory, &size) == S_OK; })) return size;
  }
  return reinterpret_cast<decltype(&::HeapSize)>(original_size.load(std::memory_order_acquire))(heap, flags, memory);
}

const std::array<ImportHook, 3>& BorderHooks() noexcept {
  static const std::array<ImportHook, 3> kHooks = {
      ImportHook{"HeapFree", reinterpret_cast<void*>(&BorderHeapFree), &original_free},
      ImportHook{"HeapReAlloc", reinterpret_cast<void*>(&BorderHeapReAlloc), &original_reallocate},
      ImportHook{"HeapSize", reinterpret_cast<void*>(&BorderHeapSize), &original_size}};
  return kHooks;
}

// Under the lock.
HRESULT GuardModule(HMODULE module, std::string* reason) {
  if (module == nullptr) return S_OK;
  if (borders == nullptr) borders = new std::vector<ImportPatch>;
  const bool guarded = std::any_of(borders->begin(), borders->end(),
                                   [&](const ImportPatch& patch) { return patch.module() == module; });
  if (guarded) return S_OK;
  borders->reserve(borders->size() + 1);
  ImportPatch patch;
  const HRESULT hr = ImportPatch::Apply(module, BorderHooks(), {}, &patch, reason);
  if (SUCCEEDED(hr)) borders->push_back(std::move(patch));
  return hr;
}

// Under the lock. References that calls inside the bridge may still use, until none is inside.
void ReleaseParked() noexcept {
  if (parked_count == 0 || !WaitUntilNoCallIsInside(0)) return;
  while (parked_count != 0) parked[--parked_count]->Release();
}

// Under the lock. Nobody new sees the heap; its reference goes when nobody can have seen it any more.
void Withdraw(Owner& owner) noexcept {
  IClrHostMemoryHeap* heap = owner.heap.exchange(nullptr, std::memory_order_seq_cst);
  owner.handle.store(nullptr);
  if (heap == nullptr) return;
  if (WaitUntilNoCallIsInside(kQuietMilliseconds)) {
    heap->Release();
  } else if (parked_count < parked.size()) {
    parked[parked_count++] = heap;
  }  // else it stays for the rest of the process: a call is inside for good, and another kMostHeaps heaps have gone
}

[[nodiscard]] bool HasBlocks(IClrHostMemoryHeap& heap) noexcept {
  // Twice: a block that is moved while it is counted may be seen in neither place, but it moves away only once.
  for (int look = 0; look < 2; ++look) {
    ClrHostMemoryHeapFigures figures{};
    figures.size = sizeof(figures);
    if (heap.GetFigures(&figures) != S_OK || figures.blocks != 0) return true;
  }
  return false;
}

}  // namespace

IClrHostMemoryHeap* HeapOf(HANDLE handle) noexcept {
  const std::size_t count = owner_count.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    if (owners[i].handle.load(std::memory_order_acquire) == handle) return owners[i].heap.load(std::memory_order_seq_cst);
  }
  return nullptr;
}

bool FreeIfOwned(void* memory) noexcept {
  return FindOwner([&](IClrHostMemoryHeap& owner) { return owner.FreeIfOwned(memory) != S_FALSE; });
}

bool AddHeap(HANDLE handle, IClrHostMemoryHeap* heap) noexcept {
  const Locked lock(owners_lock);
  ReleaseParked();
  for (std::size_t i = 0; i < owners.size(); ++i) {
    if (owners[i].heap.load() != nullptr) continue;
    heap->AddRef();
    owners[i].heap.store(heap, std::memory_order_seq_cst);
    owners[i].handle.store(handle, std::memory_order_release);
    if (i >= owner_count.load()) owner_count.store(i + 1, std::memory_order_release);
    return true;
  }
  return false;
}

BOOL DestroyHeap(HANDLE handle, decltype(&::HeapDestroy) destroy) noexcept {
  Owner* owner = nullptr;
  IClrHostMemoryHeap* heap = nullptr;
  {
    const Locked lock(owners_lock);
    ReleaseParked();
    const auto found = std::find_if(owners.begin(), owners.end(), [handle](const Owner& each) {
      return handle != nullptr && each.handle.load() == handle;
    });
    if (found != owners.end()) {
      owner = &*found;
      heap = owner->heap.load();
      owner->handle.store(nullptr);
    }
  }
  const BOOL destroyed = destroy(handle);
  if (owner == nullptr) return destroyed;
  const KeptLastError kept;
  const Locked lock(owners_lock);
  if (owner->heap.load() != heap || owner->handle.load() != nullptr) return destroyed;  // retired meanwhile
  if (destroyed) {
    Withdraw(*owner);
  } else {
    owner->handle.store(handle);
  }
  return destroyed;
}

void StopServing() noexcept {
  const Locked lock(owners_lock);
  for (Owner& owner : owners) owner.handle.store(nullptr);
}

void RetireHeaps() noexcept {
  {
    const Locked lock(owners_lock);
    ReleaseParked();
    for (Owner& owner : owners) {
      IClrHostMemoryHeap* heap = owner.heap.load();
      if (heap != nullptr && owner.handle.load() == nullptr && !HasBlocks(*heap)) Withdraw(owner);
    }
  }
  // Apart, since it takes the loader's lock. Who adds a heap guards its borders after that.
  const Locked lock(borders_lock);
  if (borders == nullptr) return;
  const bool any_left = FindOwner([](IClrHostMemoryHeap&) { return true; });
  // One that somebody has hooked over leads here for the rest of the process, and must not be hooked again on top of that.
  if (!any_left) std::erase_if(*borders, [](const ImportPatch& patch) { return patch.IsIntact(); });
}

HRESULT GuardBorders(HMODULE module, const void* crt_function, std::string* reason) noexcept try {
  const Locked lock(borders_lock);
  const HMODULE crt = crt_function == nullptr ? nullptr : ModuleOf(crt_function);
  const HRESULT hr = GuardModule(crt, reason);
  return FAILED(hr) ? hr : GuardModule(module, reason);
} catch (const std::bad_alloc&) {
  return E_OUTOFMEMORY;
}

}  // namespace clr_host_memory::bridge
