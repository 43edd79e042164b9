using System;
using System.Globalization;

namespace ClrHostMemory;

/// <summary>The manager's figures at one time. Sizes are in bytes. Counters count since the manager was created.
/// docs/stats.md explains each figure.</summary>
public sealed unsafe class HostMemoryStatistics
{
    private NativeStatistics _native;

    internal HostMemoryStatistics(in NativeStatistics native) => _native = native;

    /// <summary>The most that may be charged; null: no limit.</summary>
    public ulong? Limit => OrNull(_native.Limit);

    /// <summary>The part of the limit that requests of level Task leave to the higher levels.</summary>
    public ulong AppDomainHeadroom => _native.AppDomainHeadroom;

    /// <summary>The part of the limit that is kept for requests of level Process.</summary>
    public ulong ProcessHeadroom => _native.ProcessHeadroom;

    /// <summary>What counts against the limit now: committed memory.</summary>
    public ulong Charged => _native.Charged;

    /// <summary>The highest value of <see cref="Charged"/>.</summary>
    public ulong PeakCharged => _native.PeakCharged;

    /// <summary>Part of <see cref="Charged"/>: pages committed by VirtualAlloc, and sections.</summary>
    public ulong PageBytes => _native.PageBytes;

    /// <summary>Part of <see cref="Charged"/>: pages of the native heaps (malloc, HeapAlloc).</summary>
    public ulong HeapBytes => _native.HeapBytes;

    /// <summary>Part of <see cref="Charged"/>: what garbage collectors have committed.</summary>
    public ulong GcCharged => _native.GcCharged;

    /// <summary>The limit that the GC keeps to; null: it has none, or no companion reports one.</summary>
    public ulong? GcLimit => HasCompanion ? OrNull(_native.GcLimit) : null;

    /// <summary>Whether a companion in the runtime keeps the GC's limit up to date or reports it.</summary>
    public bool HasCompanion => _native.GcLimit != 0;

    /// <summary>The most that <see cref="Charged"/> and <see cref="HeadroomHeld"/> can be together now. It is the limit,
    /// except while more is in use than a lowered limit allows. Null: no limit, or a runtime is starting.</summary>
    public ulong? Bound => OrNull(_native.Bound);

    /// <summary>What <see cref="Bound"/> leaves; null: no bound. Task-critical requests receive less, by the
    /// headrooms.</summary>
    public ulong? Available => Bound is { } bound
        ? bound - Math.Min(bound, _native.Charged + _native.HeadroomHeld)
        : null;

    /// <summary>By how much the memory in use exceeds the limit; 0: it fits.</summary>
    public ulong OverLimit => _native.OverLimit;

    /// <summary>The most by which the bound was ever exceeded; 0 is the invariant.</summary>
    public ulong OverBound => _native.OverBound;

    /// <summary>Address space of the regions that the manager has reserved.</summary>
    public ulong Reserved => _native.Reserved;

    /// <summary>The highest value of <see cref="Reserved"/>.</summary>
    public ulong PeakReserved => _native.PeakReserved;

    /// <summary>Address space of mapped views.</summary>
    public ulong Mapped => _native.Mapped;

    /// <summary>The manager's own tables; not charged.</summary>
    public ulong Metadata => _native.Metadata;

    /// <summary>Private bytes of the process that are not charged, at the last sample.</summary>
    public ulong Outside => _native.Outside;

    /// <summary>Number of reservations and views.</summary>
    public ulong Regions => _native.Regions;

    /// <summary>Number of records replaced since other code had released their memory.</summary>
    public ulong StaleRegions => _native.StaleRegions;

    /// <summary>Number of sealed regions.</summary>
    public ulong SealedRegions => _native.SealedRegions;

    /// <summary>How much memory is left, as the manager reports it to the runtime.</summary>
    public MemoryAvailability Availability => (MemoryAvailability)_native.Availability;

    /// <summary>The stage of the manager's life.</summary>
    public HostMemoryState State => (HostMemoryState)_native.State;

    /// <summary>Why the manager has stopped to serve by itself.</summary>
    public HostMemoryLatchCause LatchCause => (HostMemoryLatchCause)_native.LatchCause;

    /// <summary>The Win32 error of <see cref="LatchCause"/>, or 0.</summary>
    public int LatchError => (int)_native.LatchError;

    /// <summary>Whether all figures are of one moment. Otherwise requests were served meanwhile.</summary>
    public bool IsConsistent => _native.Consistent != 0;

    /// <summary>Number of requests that wait for memory now.</summary>
    public ulong Waiting => _native.Waiting;

    /// <summary>The part of the process headroom to be kept committed.</summary>
    public ulong CommittedHeadroom => _native.CommittedHeadroom;

    /// <summary>What of <see cref="CommittedHeadroom"/> is committed now. It counts against the limit, and is no part of
    /// <see cref="Charged"/>.</summary>
    public ulong HeadroomHeld => _native.HeadroomHeld;

    /// <summary>What of the committed headroom was decommitted for requests, in total.</summary>
    public ulong HeadroomGiven => _native.HeadroomGiven;

    /// <summary>How often some of the committed headroom was decommitted for a request.</summary>
    public ulong HeadroomUses => _native.HeadroomUses;

    /// <summary>What of the committed headroom was committed again, in total.</summary>
    public ulong HeadroomTakenBack => _native.HeadroomTakenBack;

    /// <summary>The whole reserve of address space.</summary>
    public ulong AddressSpaceReserve => _native.AddressSpaceReserve;

    /// <summary>What of <see cref="AddressSpaceReserve"/> is reserved now.</summary>
    public ulong AddressSpaceHeld => _native.AddressSpaceHeld;

    /// <summary>How often the reserve of address space was released for a request.</summary>
    public ulong AddressSpaceUses => _native.AddressSpaceUses;

    /// <summary>Number of periods that the runtime has spent in refusals and collections without progress.</summary>
    public ulong Thrashes => _native.Thrashes;

    /// <summary>Number of requests for an address that was taken. No memory was lacking.</summary>
    public ulong PlacementRefusals => _native.PlacementRefusals;

    /// <summary>Returns how many requests of a level failed, for any reason.</summary>
    public ulong GetRefusals(HostMemoryLevel level) => _native.RefusalsOf(Index(level));

    /// <summary>Returns how many requests of a level ended with this result.</summary>
    public ulong GetRefusals(HostMemoryLevel level, HostMemoryCode code) =>
        _native.Refusals[Index(level) * NativeStatistics.Codes + Index(code)];

    /// <summary>Returns how many requests of a level failed because of the limit or a headroom.</summary>
    public ulong GetLimitRefusals(HostMemoryLevel level) => _native.LimitRefusals[Index(level)];

    /// <summary>Returns how often this method was called and had this result.</summary>
    public ulong GetCalls(HostMemoryMethod method, HostMemoryCode code) =>
        _native.Calls[Index(method) * NativeStatistics.Codes + Index(code)];

    /// <summary>Returns how often the runtime was notified of this availability.</summary>
    public ulong GetNotifications(MemoryAvailability availability) =>
        availability is >= MemoryAvailability.Low and <= MemoryAvailability.High
            ? _native.Notifications[(int)availability - 1]
            : throw new ArgumentOutOfRangeException(nameof(availability), availability, "No such availability.");

    /// <summary>Returns how many requests of a level had to wait for memory.</summary>
    public ulong GetWaits(HostMemoryLevel level) => _native.Waits[Index(level)];

    /// <summary>Returns how many waits of a level ended with memory.</summary>
    public ulong GetWaitsGranted(HostMemoryLevel level) => _native.WaitsGranted[Index(level)];

    /// <summary>Returns how many waits of a level took longer than allowed.</summary>
    public ulong GetWaitsTimedOut(HostMemoryLevel level) => _native.WaitsTimedOut[Index(level)];

    /// <summary>Returns how many waits of a level were cancelled.</summary>
    public ulong GetWaitsAbandoned(HostMemoryLevel level) => _native.WaitsAbandoned[Index(level)];

    /// <summary>Returns the main figures as one line of English text, for a log.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"charged {Charged} of {(Limit is { } limit ? limit.ToString(CultureInfo.InvariantCulture) : "no limit")}, " +
        $"peak {PeakCharged}, GC {GcCharged}, {Availability}, refusals {_native.RefusalsOf(0)}/" +
        $"{_native.RefusalsOf(1)}/{_native.RefusalsOf(2)}");

    private static ulong? OrNull(ulong bytes) => bytes == Control.NoLimit ? null : bytes;

    private static int Index(HostMemoryLevel level) => (uint)level < NativeStatistics.Levels
        ? (int)level
        : throw new ArgumentOutOfRangeException(nameof(level), level, "No such level.");

    private static int Index(HostMemoryCode code) => (uint)code < NativeStatistics.Codes
        ? (int)code
        : throw new ArgumentOutOfRangeException(nameof(code), code, "No such result.");

    private static int Index(HostMemoryMethod method) => (uint)method < NativeStatistics.Methods
        ? (int)method
        : throw new ArgumentOutOfRangeException(nameof(method), method, "No such method.");
}
