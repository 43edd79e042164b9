// What every COM method of the manager has around it: nothing is thrown across the edge, the thread's last error is
// what Win32 would have left, the answer is counted, and a broken invariant latches the manager.
#ifndef CLRHM_COM_BARRIER_H
#define CLRHM_COM_BARRIER_H

#include "com/call_counters.h"
#include "com/result_codes.h"
#include "engine/engine.h"

namespace clr_host_memory {

class Barrier {
 public:
  Barrier(Engine& engine, CallCounters& counters) : engine_(engine), counters_(counters) {}

  // body: () -> Outcome.
  template <typename Body>
  HRESULT Serve(ClrHostMemoryMethod method, Body body) noexcept {
    return Answer(method, Run(body));
  }

  // The same for requests that have a criticality, whose refusals are counted by level.
  template <typename Body>
  HRESULT ServeAllocation(ClrHostMemoryMethod method, EMemoryCriticalLevel level, Body body) noexcept {
    if (level < eTaskCritical || level > eProcessCritical) return Reject(method, E_INVALIDARG);
    const auto criticality = static_cast<Criticality>(level);
    const Result result = Run([&] { return body(criticality); });
    const HRESULT hr = Answer(method, result);
    if (hr == S_OK) return hr;
    if (IsPlacement(result.outcome)) {
      counters_.CountPlacementRefusal();
    } else {
      counters_.CountRefusal(criticality, hr, result.outcome.verdict == Verdict::kOverLimit);
    }
    return hr;
  }

  // An argument that is refused before the engine is asked. error: what Win32 says of it; by default of an argument
  // that no Win32 function has.
  HRESULT Reject(ClrHostMemoryMethod method, HRESULT hr, DWORD error = ERROR_INVALID_PARAMETER) noexcept {
    ::SetLastError(error);
    counters_.Count(method, hr);
    return hr;
  }

 private:
  struct Result {
    Outcome outcome;
    DWORD caller_error;
    LatchCause latches = LatchCause::kOs;  // when the outcome is a broken invariant
  };

  // Whether the request named an address that is not to be had, which is no lack of memory.
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
      // Nothing in the manager throws; whatever did has left it in a state nobody knows.
      return {Outcome::InvariantBroken(), caller_error, LatchCause::kException};
    }
  }

  HRESULT Answer(ClrHostMemoryMethod method, const Result& result) noexcept {
    if (result.outcome.verdict == Verdict::kInvariantBroken) {
      engine_.Latch({result.latches, static_cast<std::uint8_t>(method), result.outcome.error});
    }
    const HRESULT hr = ToHresult(result.outcome, method);
    counters_.Count(method, hr);
    ::SetLastError(result.outcome.ok() ? result.caller_error : result.outcome.error);
    return hr;
  }

  Engine& engine_;
  CallCounters& counters_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_BARRIER_H
