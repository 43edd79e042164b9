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
constinit SRWLOCK owners_lock = SRWLOCK_INIT;       // for those who change the table or the borders
// Never destroyed: threads may come through the imports for as long as the process lives.
constinit std::vector<ImportPatch>* borders = nullptr;
constinit std::atomic<void*> original_free{nullptr};
constinit std::atomic<void*> original_reallocate{nullptr};
constinit std::atomic<void*> original_size{nullptr};

class OwnersLocked {
 public:
  OwnersLocked() noexcept { AcquireSRWLockExclusive(&owners_lock); }
  ~OwnersLocked() { ReleaseSRWLockExclusive(&owners_lock); }
  OwnersLocked(const OwnersLocked&) = delete;
  OwnersLocked& operator=(const OwnersLocked&) = delete;
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

// Under the lock. Nobody new sees it; who has seen it has left when this returns true.
bool Withdraw(Owner& owner) noexcept {
  IClrHostMemoryHeap* heap = owner.heap.exchange(nullptr, std::memory_order_seq_cst);
  owner.handle.store(nullptr);
  if (heap == nullptr) return true;
  if (!WaitUntilNoCallIsInside(kQuietMilliseconds)) return false;  // and keeps the reference for them
  heap->Release();
  return true;
}

[[nodiscard]] bool HasBlocks(IClrHostMemoryHeap& heap) noexcept {
  ClrHostMemoryHeapFigures figures{};
  figures.size = sizeof(figures);
  return heap.GetFigures(&figures) != S_OK || figures.blocks != 0;
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
  const OwnersLocked lock;
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

bool RemoveHeap(HANDLE handle) noexcept {
  const OwnersLocked lock;
  for (Owner& owner : owners) {
    if (handle == nullptr || owner.handle.load() != handle) continue;
    Withdraw(owner);
    return true;
  }
  return false;
}

void RetireHeaps() noexcept {
  const OwnersLocked lock;
  bool any_left = false;
  for (Owner& owner : owners) {
    IClrHostMemoryHeap* heap = owner.heap.load();
    if (heap == nullptr) continue;
    owner.handle.store(nullptr);
    if (HasBlocks(*heap)) {
      any_left = true;
    } else {
      Withdraw(owner);
    }
  }
  if (!any_left && borders != nullptr) borders->clear();
}

HRESULT GuardBorders(HMODULE module, const void* crt_function, std::string* reason) noexcept try {
  const OwnersLocked lock;
  const HMODULE crt = crt_function == nullptr ? nullptr : ModuleOf(crt_function);
  const HRESULT hr = GuardModule(crt, reason);
  return FAILED(hr) ? hr : GuardModule(module, reason);
} catch (const std::bad_alloc&) {
  return E_OUTOFMEMORY;
}

}  // namespace clr_host_memory::bridge
