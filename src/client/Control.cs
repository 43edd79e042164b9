using System;
using System.Runtime.InteropServices;

namespace ClrHostMemory;

// A reference to IClrHostMemoryControl of memory_manager_abi.h. The slots of its table of methods are those of IUnknown
// and then the methods in the order of the header. A call leaves the thread in preemptive mode, so no collection waits
// for it. The methods return HRESULTs.
internal readonly unsafe struct Control
{
    public const ulong NoLimit = ulong.MaxValue;
    public const ulong DefaultHeadroom = ulong.MaxValue;
    public const ulong PercentHeadroom = 0xFFFFFFFF00000000;

    private static readonly Guid _iid = new(0x5d0b7e12, 0x3c4f, 0x4b9a, 0x8e, 0x21, 0x6a, 0x97, 0xd4, 0x0f, 0x5b, 0xc3);
    private static readonly Guid _managerIid =
        new(0x7bc698d1, 0xf9e3, 0x4460, 0x9c, 0xde, 0xd0, 0x42, 0x48, 0xe9, 0xfa, 0x25);

    private readonly void*** _object;
    private readonly void*** _manager;

    private Control(void* control, void* manager)
    {
        _object = (void***)control;
        _manager = (void***)manager;
    }

    // The identity of the manager, for comparison.
    public nint Identity => (nint)_object;

    // Takes references to the manager that has the COM object `unknown`. Returns the HRESULT of QueryInterface.
    public static int Query(nint unknown, out Control control)
    {
        control = default;
        void* itsControl = null, itsManager = null;
        int result = Query((void***)unknown, _iid, &itsControl);
        if (result < 0)
        {
            return result;
        }
        result = Query((void***)unknown, _managerIid, &itsManager);
        if (result < 0)
        {
            Release(itsControl);
            return result;
        }
        control = new Control(itsControl, itsManager);
        return result;
    }

    public void Release()
    {
        Release(_object);
        Release(_manager);
    }

    public int GetStatistics(NativeStatistics* statistics)
    {
        statistics->Size = (uint)sizeof(NativeStatistics);
        return ((delegate* unmanaged[Stdcall]<void*, NativeStatistics*, int>)(*_object)[3])(_object, statistics);
    }

    public int Audit(NativeAudit* audit)
    {
        audit->Size = (uint)sizeof(NativeAudit);
        return ((delegate* unmanaged[Stdcall]<void*, NativeAudit*, int>)(*_object)[4])(_object, audit);
    }

    public int SetLimit(ulong limit, ulong appDomainHeadroom, ulong processHeadroom) =>
        ((delegate* unmanaged[Stdcall]<void*, ulong, ulong, ulong, int>)(*_object)[5])(
            _object, limit, appDomainHeadroom, processHeadroom);

    public int SetThresholds(NativeThresholds* thresholds) =>
        ((delegate* unmanaged[Stdcall]<void*, NativeThresholds*, int>)(*_object)[6])(_object, thresholds);

    public int SetWait(int level, uint milliseconds) =>
        ((delegate* unmanaged[Stdcall]<void*, int, uint, int>)(*_object)[7])(_object, level, milliseconds);

    public int CancelWaits() => ((delegate* unmanaged[Stdcall]<void*, int>)(*_object)[8])(_object);

    public int NotifyMemoryAvailable(int available) =>
        ((delegate* unmanaged[Stdcall]<void*, int, int>)(*_object)[14])(_object, available);

    public int SetThrashGuard(uint windowMilliseconds, uint refusals) =>
        ((delegate* unmanaged[Stdcall]<void*, uint, uint, int>)(*_object)[16])(_object, windowMilliseconds, refusals);

    public int GetCharged(nint address, ulong size, ulong* bytes) =>
        ((delegate* unmanaged[Stdcall]<void*, nint, ulong, ulong*, int>)(*_object)[17])(_object, address, size, bytes);

    public int WriteReport(delegate* unmanaged[Stdcall]<byte*, void*, void> writeLine, void* context) =>
        ((delegate* unmanaged[Stdcall]<void*, delegate* unmanaged[Stdcall]<byte*, void*, void>, void*, int>)
            (*_object)[18])(_object, writeLine, context);

    // IHostMemoryManager::GetMemoryLoad.
    public int GetMemoryLoad(uint* percent, nuint* available) =>
        ((delegate* unmanaged[Stdcall]<void*, uint*, nuint*, int>)(*_manager)[8])(_manager, percent, available);

    private static int Query(void*** unknown, Guid iid, void** result) =>
        ((delegate* unmanaged[Stdcall]<void*, Guid*, void**, int>)(*unknown)[0])(unknown, &iid, result);

    private static void Release(void* unknown) =>
        _ = ((delegate* unmanaged[Stdcall]<void*, uint>)(*(void***)unknown)[2])(unknown);
}

// ClrHostMemoryStatistics of statistics.h, version 5. An older library leaves the last fields 0.
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeStatistics
{
    public const int Levels = 3;
    public const int Methods = 13;
    public const int Codes = 10;

    public uint Size;
    public uint Version;
    public ulong Limit;
    public ulong AppDomainHeadroom;
    public ulong ProcessHeadroom;
    public ulong Charged;
    public ulong PeakCharged;
    public ulong PageBytes;
    public ulong HeapBytes;
    public ulong Reserved;
    public ulong PeakReserved;
    public ulong Mapped;
    public ulong Metadata;
    public ulong Regions;
    public ulong StaleRegions;
    public fixed ulong Calls[Methods * Codes];
    public fixed ulong Refusals[Levels * Codes];
    public fixed ulong LimitRefusals[Levels];
    public uint Consistent;
    public uint State;
    public uint LatchCause;
    public uint LatchMethod;
    public uint LatchError;
    public uint Availability;
    public ulong OverLimit;
    public ulong Outside;
    public fixed ulong Notifications[3];
    public ulong Waiting;
    public fixed ulong Waits[Levels];
    public fixed ulong WaitsGranted[Levels];
    public fixed ulong WaitsTimedOut[Levels];
    public fixed ulong WaitsAbandoned[Levels];
    public ulong CommittedHeadroom;
    public ulong HeadroomHeld;
    public ulong HeadroomGiven;
    public ulong HeadroomUses;
    public ulong HeadroomTakenBack;
    public ulong AddressSpaceReserve;
    public ulong AddressSpaceHeld;
    public ulong AddressSpaceUses;
    public ulong SealedRegions;
    public ulong Thrashes;
    public ulong PlacementRefusals;
    public ulong Bound;
    public ulong OverBound;
    public ulong GcCharged;
    public ulong GcLimit;

    // All failed allocations of a level.
    public readonly ulong RefusalsOf(int level)
    {
        ulong sum = 0;
        for (int code = 1; code < Codes; ++code)
        {
            sum += Refusals[level * Codes + code];
        }
        return sum;
    }

    public readonly bool ReservesAreWhole =>
        HeadroomHeld >= CommittedHeadroom && AddressSpaceHeld >= AddressSpaceReserve;
}

// ClrHostMemoryAudit of statistics.h.
[StructLayout(LayoutKind.Sequential)]
internal struct NativeAudit
{
    public uint Size;
    public uint Version;
    public ulong Charged;
    public ulong Committed;
    public ulong Mismatch;
    public ulong Regions;
    public ulong InFlight;
}

// ClrHostMemoryThresholds of memory_manager_abi.h.
[StructLayout(LayoutKind.Sequential)]
internal struct NativeThresholds
{
    public uint EnterLow;
    public uint LeaveLow;
    public uint LeaveHigh;
    public uint EnterHigh;
    public uint DwellMilliseconds;
    public uint RepeatLowMilliseconds;
}
