// The IHostControl that gives the manager to a .NET Framework CLR.
#include <clr_host_memory/memory_manager_abi.h>

#include <new>

#include "com/com_object.h"

namespace clr_host_memory {
namespace {

class HostControl final : public ComObject<HostControl, Implements<IHostControl, kIidHostControl>> {
 public:
  HostControl(IHostMemoryManager* manager, IHostControl* inner) : manager_(manager), inner_(inner) {
    manager_->AddRef();
    if (inner_ != nullptr) inner_->AddRef();
  }

  HRESULT STDMETHODCALLTYPE GetHostManager(REFIID riid, void** object) noexcept override {
    if (object == nullptr) return E_POINTER;
    *object = nullptr;
    if (IsEqualGUID(riid, kIidHostMemoryManager)) return manager_->QueryInterface(riid, object);
    return inner_ == nullptr ? E_NOINTERFACE : inner_->GetHostManager(riid, object);
  }
  HRESULT STDMETHODCALLTYPE SetAppDomainManager(DWORD app_domain_id, IUnknown* app_domain_manager) noexcept override {
    return inner_ == nullptr ? S_OK : inner_->SetAppDomainManager(app_domain_id, app_domain_manager);
  }

 private:
  friend ComObject;
  ~HostControl() {
    if (inner_ != nullptr) inner_->Release();
    manager_->Release();
  }

  IHostMemoryManager* const manager_;
  IHostControl* const inner_;
};

}  // namespace
}  // namespace clr_host_memory

HRESULT STDMETHODCALLTYPE ClrHostMemoryCreateHostControl(IHostMemoryManager* manager, IHostControl* inner,
                                                         IHostControl** object) {
  if (object == nullptr) return E_POINTER;
  *object = nullptr;
  if (manager == nullptr) return E_POINTER;
  *object = new (std::nothrow) clr_host_memory::HostControl(manager, inner);
  return *object == nullptr ? E_OUTOFMEMORY : S_OK;
}
