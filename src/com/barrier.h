// The frame around every COM method that is counted: those that a CLR or the bridge calls for memory. No exception
// leaves a method. The thread's last error is the one that Win32 would leave. The result is counted. A broken invariant
// latches the manager.
#ifndef CLRHM_COM_BARRIER_H
#define CLRHM_COM_BARRIER_H

#include "com/call_counters.h"
#include "com/result_codes.h"
#include "engine/engine.h"

namespace clr_host_memory {

class Barrier {
 public:
  Barrier(Engine& engine, CallCounters& counters) : engine_(engine), counters_(counters) {}

  // Runs body, () -> Outcome, and returns the HRESULT of its outcome. method: the counter of the call.
  template <typename Body>
  HRESULT Serve(ClrHostMemoryMethod method, Operation operation, Body body) noexcept {
    return Answer(method, operation, Run(body));
  }

  // Serves an allocation, which has a criticality: body is (Criticality) -> Outcome. Refusals are counted by level.
  // E_INVALIDARG: level is out of range.
  template <typename Body>
  HRESULT ServeAllocation(ClrHostMemoryMethod method, EMemoryCriticalLevel level, Body body) noexcept {
    if (level < eTaskCritical || level > eProcessCritical) return Reject(method, E_INVALIDARG);
    const auto criticality = static_cast<Criticality>(level);
    const Result result = Run([&] { return body(criticality); });
    const HRESULT hr = Answer(method, Operation::kAllocate, result);
    if (hr == S_OK) return hr;
    if (IsPlacement(result.outcome)) {
      counters_.CountPlacementRefusal();
    } else {
      counters_.CountRefusal(criticality, hr, result.outcome.verdict == Verdict::kOverLimit);
    }
    return hr;
  }

  // Refuses an argument before the request reaches the engine. error: the last error that Win32 sets for that argument.
  // The default is for arguments that no Win32 function has.
  HRESULT Reject(ClrHostMemoryMethod method, HRESULT hr, DWORD error = ERROR_INVALID_PARAMETER) noexcept {
    ::SetLastError(error);
    counters_.Count(method, hr);
    return hr;
  }

 private:
  struct Result {
    Outcome outcome;
    DWORD caller_error;
    LatchCause latches = LatchCause::kOs;  // used if the outcome is a broken invariant
  };

  // Returns whether the request named an address that is not available. That is no lack of memory.
  [[nodiscard]] static bool IsPlacement(const Outcome& outcome) noexcept {
    return outcome.verdict == Verdict::kOsRefused && FamilyOf(outcome.error) == ErrorFamily::kPlacement;
  }

  template <typename Body>
  Result Run(Body body) noexcept {
    const DWORD caller_error = ::GetLastError();
    try {
      const Outcome outcome = body();
      return {outcome, caller_error};
    } catch (...) {
      // The manager's code throws nothing, so an exception leaves the manager in an unknown state.
      return {Outcome::InvariantBroken(), caller_error, LatchCause::kException};
    }
  }

  HRESULT Answer(ClrHostMemoryMethod method, Operation operation, const Result& result) noexcept {
    if (result.outcome.ok()) [[likely]] {
      counters_.Count(method, S_OK);
      ::SetLastError(result.caller_error);
      return S_OK;
    }
    if (result.outcome.verdict == Verdict::kInvariantBroken) {
      engine_.Latch({result.latches, static_cast<std::uint8_t>(method), result.outcome.error});
    }
    const HRESULT hr = ToHresult(result.outcome, operation);
    counters_.Count(method, hr);
    ::SetLastError(result.outcome.error);
    return hr;
  }

  Engine& engine_;
  CallCounters& counters_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_BARRIER_H
