#include "com/result_codes.h"

#include <iterator>

namespace clr_host_memory {
namespace {

[[nodiscard]] HRESULT OfError(win32::Error error, Operation operation) {
  switch (FamilyOf(error)) {
    case ErrorFamily::kMemory: return operation == Operation::kAllocate ? E_OUTOFMEMORY : E_FAIL;
    case ErrorFamily::kPlacement:
      // In a method that allocates, a refused placement is reported as a lack of memory. In a method that frees, the
      // address is none of the manager's.
      if (operation == Operation::kAllocate) return E_OUTOFMEMORY;
      return operation == Operation::kFree ? HOST_E_INVALIDOPERATION : E_INVALIDARG;
    case ErrorFamily::kRequest: return E_INVALIDARG;
    case ErrorFamily::kTimeout: return HOST_E_TIMEOUT;
    case ErrorFamily::kAbandoned: return HOST_E_ABANDONED;
    case ErrorFamily::kNotOwner: return HOST_E_NOT_OWNER;
    case ErrorFamily::kUnlisted: break;
  }
  return E_FAIL;
}

}  // namespace

HRESULT ToHresult(const Outcome& outcome, Operation operation) noexcept {
  switch (outcome.verdict) {
    case Verdict::kDone: return S_OK;
    case Verdict::kOverLimit:
    case Verdict::kNoMetadata: return E_OUTOFMEMORY;
    case Verdict::kOsRefused: return OfError(outcome.error, operation);
    case Verdict::kNotOurs: return HOST_E_INVALIDOPERATION;
    case Verdict::kTimedOut: return HOST_E_TIMEOUT;
    case Verdict::kAbandoned: return HOST_E_ABANDONED;
    case Verdict::kNotOwner:
    case Verdict::kExclusiveElsewhere: return HOST_E_NOT_OWNER;
    case Verdict::kUnavailable: return HOST_E_CLRNOTAVAILABLE;
    case Verdict::kInvariantBroken: break;
  }
  return E_FAIL;
}

HRESULT HresultOf(ClrHostMemoryCode code) noexcept {
  static constexpr HRESULT kCodes[] = {S_OK,
                                       E_OUTOFMEMORY,
                                       HOST_E_TIMEOUT,
                                       HOST_E_ABANDONED,
                                       HOST_E_NOT_OWNER,
                                       HOST_E_CLRNOTAVAILABLE,
                                       HOST_E_INVALIDOPERATION,
                                       E_FAIL,
                                       E_POINTER,
                                       E_INVALIDARG};
  static_assert(std::size(kCodes) == kClrHostMemoryCodeCount);
  return kCodes[code];
}

ClrHostMemoryCode CodeIndexOf(HRESULT hr) noexcept {
  switch (hr) {
    case S_OK:
    case S_FALSE: return kClrHostMemoryOk;
    case E_OUTOFMEMORY: return kClrHostMemoryOutOfMemory;
    case HOST_E_TIMEOUT: return kClrHostMemoryTimeout;
    case HOST_E_ABANDONED: return kClrHostMemoryAbandoned;
    case HOST_E_NOT_OWNER: return kClrHostMemoryNotOwner;
    case HOST_E_CLRNOTAVAILABLE: return kClrHostMemoryClrNotAvailable;
    case HOST_E_INVALIDOPERATION: return kClrHostMemoryInvalidOperation;
    case E_POINTER: return kClrHostMemoryPointer;
    case E_INVALIDARG: return kClrHostMemoryInvalidArgument;
    default: return kClrHostMemoryFail;
  }
}

}  // namespace clr_host_memory
