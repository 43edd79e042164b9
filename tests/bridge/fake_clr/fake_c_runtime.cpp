// Stands in for the DLL of a C run-time. It implements malloc and related functions over the process heap, as the
// universal C run-time does. With FAKE_PAST_IMPORTS it takes blocks back without using its imports, as a run-time does
// that calls ntdll or its own allocator. With FAKE_NO_IMPORTS it has no such imports.
#include <windows.h>

#include <cstddef>
#include <cstring>

namespace {

long foreign_blocks = 0;

#if defined(FAKE_PAST_IMPORTS) || defined(FAKE_NO_IMPORTS)
template <typename Function>
Function* OfKernel32(const char* name) {
  return reinterpret_cast<Function*>(reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"kernel32.dll"), name)));
}
const auto free_block = OfKernel32<decltype(::HeapFree)>("HeapFree");
const auto resize_block = OfKernel32<decltype(::HeapReAlloc)>("HeapReAlloc");
const auto size_of_block = OfKernel32<decltype(::HeapSize)>("HeapSize");
#else
BOOL free_block(HANDLE heap, DWORD flags, void* memory) { return HeapFree(heap, flags, memory); }
void* resize_block(HANDLE heap, DWORD flags, void* memory, SIZE_T size) {
  return HeapReAlloc(heap, flags, memory, size);
}
SIZE_T size_of_block(HANDLE heap, DWORD flags, const void* memory) { return HeapSize(heap, flags, memory); }
#endif

}  // namespace

extern "C" {

void* FakeRuntimeMalloc(std::size_t size) { return HeapAlloc(GetProcessHeap(), 0, size); }
void* FakeRuntimeCalloc(std::size_t count, std::size_t size) {
  return HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, count * size);
}
void FakeRuntimeFree(void* memory) {
  if (memory != nullptr && !free_block(GetProcessHeap(), 0, memory)) InterlockedIncrement(&foreign_blocks);
}
void* FakeRuntimeRealloc(void* memory, std::size_t size) {
  if (memory == nullptr) return FakeRuntimeMalloc(size);
  return resize_block(GetProcessHeap(), 0, memory, size);
}
std::size_t FakeRuntimeMsize(void* memory) { return size_of_block(GetProcessHeap(), 0, memory); }
// Zeroes from the end that _msize reports, as the universal C run-time does.
void* FakeRuntimeRecalloc(void* memory, std::size_t count, std::size_t size) {
  if (memory == nullptr) return FakeRuntimeCalloc(count, size);
  const std::size_t old_size = FakeRuntimeMsize(memory);
  auto* made = static_cast<char*>(FakeRuntimeRealloc(memory, count * size));
  if (made != nullptr && count * size > old_size) std::memset(made + old_size, 0, count * size - old_size);
  return made;
}
// Returns how many blocks arrived here that the OS's heap does not know.
__declspec(dllexport) long FakeRuntimeForeignBlocks() { return foreign_blocks; }
#if defined(FAKE_PAST_IMPORTS)
// Has the imports, but uses them for other purposes.
__declspec(dllexport) SIZE_T FakeRuntimeUseImports() {
  void* memory = HeapReAlloc(GetProcessHeap(), 0, HeapAlloc(GetProcessHeap(), 0, 1), 2);
  const SIZE_T size = HeapSize(GetProcessHeap(), 0, memory);
  HeapFree(GetProcessHeap(), 0, memory);
  return size;
}
#endif

}  // extern "C"
