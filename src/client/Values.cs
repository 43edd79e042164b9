using System;

namespace ClrHostMemory;

/// <summary>What the failure of a request for memory costs. The manager keeps headroom for the higher levels.</summary>
public enum HostMemoryLevel
{
    /// <summary>The request may fail; growth of the GC's heap.</summary>
    Task = 0,

    /// <summary>A failure costs an application domain.</summary>
    AppDomain = 1,

    /// <summary>A failure ends the process.</summary>
    Process = 2,
}

/// <summary>How much memory is left, as the manager reports it to the runtime.</summary>
public enum MemoryAvailability
{
    /// <summary>Little memory is left; caches should give memory up.</summary>
    Low = 1,

    /// <summary>Neither low nor high.</summary>
    Neutral = 2,

    /// <summary>Much memory is left.</summary>
    High = 3,
}

/// <summary>The stage of the manager's life.</summary>
public enum HostMemoryState
{
    /// <summary>The manager serves.</summary>
    Running = 0,

    /// <summary>The manager is being shut down: allocations fail, frees succeed.</summary>
    Draining = 1,

    /// <summary>The manager's threads have ended.</summary>
    Stopped = 2,
}

/// <summary>Why the manager has stopped to serve by itself.</summary>
public enum HostMemoryLatchCause
{
    /// <summary>It serves.</summary>
    None = 0,

    /// <summary>The operating system broke its contract.</summary>
    OperatingSystem = 1,

    /// <summary>An exception was caught at the border of the native library.</summary>
    Exception = 2,
}

/// <summary>The counted methods of the manager.</summary>
public enum HostMemoryMethod
{
    /// <summary>IHostMemoryManager::CreateMalloc.</summary>
    CreateMalloc = 0,

    /// <summary>IHostMemoryManager::VirtualAlloc.</summary>
    VirtualAlloc,

    /// <summary>IHostMemoryManager::VirtualFree.</summary>
    VirtualFree,

    /// <summary>IHostMemoryManager::VirtualQuery.</summary>
    VirtualQuery,

    /// <summary>IHostMemoryManager::VirtualProtect.</summary>
    VirtualProtect,

    /// <summary>IHostMemoryManager::GetMemoryLoad.</summary>
    GetMemoryLoad,

    /// <summary>IHostMemoryManager::RegisterMemoryNotificationCallback.</summary>
    RegisterMemoryNotificationCallback,

    /// <summary>IHostMemoryManager::NeedsVirtualAddressSpace.</summary>
    NeedsVirtualAddressSpace,

    /// <summary>IHostMemoryManager::AcquiredVirtualAddressSpace.</summary>
    AcquiredVirtualAddressSpace,

    /// <summary>IHostMemoryManager::ReleasedVirtualAddressSpace.</summary>
    ReleasedVirtualAddressSpace,

    /// <summary>IHostMalloc::Alloc.</summary>
    MallocAlloc,

    /// <summary>IHostMalloc::DebugAlloc.</summary>
    MallocDebugAlloc,

    /// <summary>IHostMalloc::Free.</summary>
    MallocFree,
}

/// <summary>The results of the manager's methods.</summary>
public enum HostMemoryCode
{
    /// <summary>S_OK.</summary>
    Ok = 0,

    /// <summary>E_OUTOFMEMORY.</summary>
    OutOfMemory,

    /// <summary>HOST_E_TIMEOUT.</summary>
    Timeout,

    /// <summary>HOST_E_ABANDONED.</summary>
    Abandoned,

    /// <summary>HOST_E_NOT_OWNER.</summary>
    NotOwner,

    /// <summary>HOST_E_CLRNOTAVAILABLE.</summary>
    ClrNotAvailable,

    /// <summary>HOST_E_INVALIDOPERATION.</summary>
    InvalidOperation,

    /// <summary>E_FAIL.</summary>
    Fail,

    /// <summary>E_POINTER.</summary>
    Pointer,

    /// <summary>E_INVALIDARG.</summary>
    InvalidArgument,
}

/// <summary>A part of the limit that requests of a lower level cannot use. The default value is the manager's own
/// choice, which it derives from the limit.</summary>
public readonly struct HostMemoryHeadroom : IEquatable<HostMemoryHeadroom>
{
    // The native value is NativeValue, so that default(HostMemoryHeadroom) is DEFAULT.
    private readonly ulong _inverted;

    private HostMemoryHeadroom(ulong native) => _inverted = ~native;

    /// <summary>The manager derives the headroom from the limit.</summary>
    public static HostMemoryHeadroom Default => default;

    internal ulong NativeValue => ~_inverted;

    /// <summary>So many bytes.</summary>
    /// <param name="bytes">Below 2^64 - 2^32.</param>
    /// <exception cref="ArgumentOutOfRangeException">More bytes than that.</exception>
    public static HostMemoryHeadroom OfBytes(ulong bytes) => bytes < Control.PercentHeadroom
        ? new HostMemoryHeadroom(bytes)
        : throw new ArgumentOutOfRangeException(nameof(bytes), bytes, "Give fewer bytes than the limit has.");

    /// <summary>So many percent of the limit.</summary>
    /// <param name="percent">0 to 100.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="percent"/> is not within 0 to 100.</exception>
    public static HostMemoryHeadroom OfPercent(int percent) => percent is >= 0 and <= 100
        ? new HostMemoryHeadroom(Control.PercentHeadroom | (uint)percent)
        : throw new ArgumentOutOfRangeException(nameof(percent), percent, "Give 0 to 100 percent of the limit.");

    /// <inheritdoc/>
    public bool Equals(HostMemoryHeadroom other) => _inverted == other._inverted;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is HostMemoryHeadroom other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => _inverted.GetHashCode();

    /// <summary>Compares two headrooms.</summary>
    public static bool operator ==(HostMemoryHeadroom left, HostMemoryHeadroom right) => left.Equals(right);

    /// <summary>Compares two headrooms.</summary>
    public static bool operator !=(HostMemoryHeadroom left, HostMemoryHeadroom right) => !left.Equals(right);
}

/// <summary>When memory counts as Low or High, in percent of the memory available. The order is
/// EnterLow &lt; LeaveLow &lt;= LeaveHigh &lt; EnterHigh &lt;= 100.</summary>
public sealed record HostMemoryThresholds
{
    /// <summary>Low begins at or below this percentage.</summary>
    public int EnterLow { get; init; } = 8;

    /// <summary>Low ends at or above this percentage.</summary>
    public int LeaveLow { get; init; } = 15;

    /// <summary>High ends at or below this percentage.</summary>
    public int LeaveHigh { get; init; } = 40;

    /// <summary>High begins at or above this percentage.</summary>
    public int EnterHigh { get; init; } = 50;

    /// <summary>The least time that a state lasts before a state other than Low follows.</summary>
    public TimeSpan Dwell { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How often the runtime is notified of Low again while Low lasts; above 0.</summary>
    public TimeSpan RepeatLow { get; init; } = TimeSpan.FromMilliseconds(8192);
}

/// <summary>The memory load of the bound that is used most: the limit, a job, physical memory or commit charge.</summary>
/// <param name="Percent">0 to 100 percent are in use.</param>
/// <param name="Available">Bytes that the heap of the GC can still have under all bounds.</param>
public readonly record struct HostMemoryLoad(int Percent, ulong Available);

/// <summary>The manager's account compared with what the operating system reports of the same memory, in bytes.</summary>
/// <param name="Charged">Pages that the account has as committed.</param>
/// <param name="Committed">What the operating system has committed in the same places.</param>
/// <param name="Mismatch">What the two disagree on, page by page. 0 is the invariant.</param>
/// <param name="Regions">Number of reservations and views visited.</param>
/// <param name="InFlight">Not compared, since calls on them were in progress throughout.</param>
public readonly record struct HostMemoryAudit(
    ulong Charged, ulong Committed, ulong Mismatch, ulong Regions, ulong InFlight);
