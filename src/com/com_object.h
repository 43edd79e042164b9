// IUnknown for the COM objects of the library and of clrmem.
//
// EventFunction in memory_manager.h has its own: the public headers include nothing from src.
#ifndef CLRHM_COM_COM_OBJECT_H
#define CLRHM_COM_COM_OBJECT_H

#include <unknwn.h>

#include <atomic>

#include "os/windows/process_ending.h"

namespace clr_host_memory {

// An interface of a ComObject, and the IIDs that QueryInterface answers with it.
template <typename ComInterface, const GUID&... iids>
struct Implements {
  using Interface = ComInterface;
  [[nodiscard]] static bool Has(REFIID riid) noexcept { return (IsEqualGUID(riid, iids) || ...); }
};

// The base of a COM class Object, which derives from ComObject<Object, Implements<…>…> and befriends it. The first
// interface is the object's identity. The object starts with one reference, owned by the code that made it.
//
// After the last Release, End destroys the object, which new must have made. Object may define its own End() noexcept.
// No End runs while the process ends: the OS frees all memory, and killed threads may have stopped inside the object.
template <typename Object, typename First, typename... More>
class ComObject : public First::Interface, public More::Interface... {
 public:
  ComObject() = default;
  ComObject(const ComObject&) = delete;
  ComObject& operator=(const ComObject&) = delete;

  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** object) noexcept final {
    if (object == nullptr) return E_POINTER;
    *object = nullptr;
    if (IsEqualGUID(riid, IID_IUnknown)) {
      *object = static_cast<typename First::Interface*>(this);
    } else if (!(Find<First>(riid, object) || ... || Find<More>(riid, object))) {
      return E_NOINTERFACE;
    }
    AddRef();
    return S_OK;
  }

  ULONG STDMETHODCALLTYPE AddRef() noexcept final { return references_.fetch_add(1, std::memory_order_relaxed) + 1; }

  ULONG STDMETHODCALLTYPE Release() noexcept final {
    // Code that End calls may take and release references again. This high count keeps those releases from reaching
    // the last reference a second time.
    constexpr ULONG kEnding = ULONG{1} << 30;
    ULONG references = references_.load(std::memory_order_relaxed);
    while (!references_.compare_exchange_weak(references, references == 1 ? kEnding : references - 1,
                                              std::memory_order_acq_rel)) {
    }
    if (references != 1) return references - 1;
    if (!ProcessIsEnding()) static_cast<Object*>(this)->End();
    return 0;
  }

 protected:
  ~ComObject() = default;
  void End() noexcept { delete static_cast<Object*>(this); }

 private:
  template <typename Entry>
  [[nodiscard]] bool Find(REFIID riid, void** object) noexcept {
    if (!Entry::Has(riid)) return false;
    *object = static_cast<typename Entry::Interface*>(this);
    return true;
  }

  std::atomic<ULONG> references_ = 1;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_COM_OBJECT_H
