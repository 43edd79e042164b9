using System;
using System.Globalization;
using System.Runtime.InteropServices;

// IClrHostMemoryControl as clr_host_memory.h has it, for .NET's own COM interop: every method in vtable
// order, HRESULTs returned as they are. Structs that no program here reads are plain pointers.
[ComImport]
[Guid("F3B8F1B8-391C-432E-8633-A4BB5F6EE758")]
[InterfaceType(ComInterfaceType.InterfaceIsIUnknown)]
internal interface IClrHostMemoryControl
{
    [PreserveSig] int GetStatistics(IntPtr statistics);
    [PreserveSig] int Audit(IntPtr audit);
    [PreserveSig] int SetLimit(ulong limit, ulong appDomainHeadroom, ulong processHeadroom);
    [PreserveSig] int SetThresholds(in ClrHostMemoryThresholds thresholds);
    [PreserveSig] int SetWait(int level, uint milliseconds);
    [PreserveSig] int CancelWaits();
    [PreserveSig] int EnterExclusive(uint milliseconds);
    [PreserveSig] int LeaveExclusive();
    [PreserveSig] int SealRegion(IntPtr address, ulong size);
    [PreserveSig] int UnsealRegion(IntPtr address);
    [PreserveSig] int SetEventSink(IntPtr sink);
    [PreserveSig] int NotifyMemoryAvailable(int available);
    [PreserveSig] int Shutdown();
}

// In percent of what is available, and in milliseconds.
[StructLayout(LayoutKind.Sequential)]
internal struct ClrHostMemoryThresholds
{
    public uint EnterLow;
    public uint LeaveLow;
    public uint LeaveHigh;
    public uint EnterHigh;
    public uint DwellMilliseconds;
    public uint RepeatLowMilliseconds;
}

// The memory manager of this process, which clrmem names in the environment.
internal static class HostManager
{
    public const ulong DefaultHeadroom = ulong.MaxValue;
    public const int Low = 1, Neutral = 2, High = 3;

    // Supports IHostMemoryManager and IClrHostMemoryControl; null: there is none.
    public static object? Find()
    {
        string? text = Environment.GetEnvironmentVariable("CLRMEM_MANAGER");
        return TryParseAddress(text, out IntPtr address) ? Marshal.GetObjectForIUnknown(address) : null;
    }

    // The manager's limit and what it has on account now, in bytes. ClrHostMemoryStatistics begins with its size, and has
    // these two at the same place in every version.
    public static (ulong Limit, ulong Charged) Figures(IClrHostMemoryControl control)
    {
        const int SizeOffset = 0, LimitOffset = 8, ChargedOffset = 32, StatisticsBytes = 4096;
        IntPtr statistics = Marshal.AllocHGlobal(StatisticsBytes);
        try
        {
            Marshal.WriteInt32(statistics, SizeOffset, StatisticsBytes);
            Marshal.ThrowExceptionForHR(control.GetStatistics(statistics));
            return ((ulong)Marshal.ReadInt64(statistics, LimitOffset), (ulong)Marshal.ReadInt64(statistics, ChargedOffset));
        }
        finally
        {
            Marshal.FreeHGlobal(statistics);
        }
    }

    // Decimal or 0x...
    public static bool TryParseAddress(string? text, out IntPtr address)
    {
        address = IntPtr.Zero;
        if (text == null)
        {
            return false;
        }
        bool hex = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        if (!long.TryParse(hex ? text.Substring(2) : text,
                           hex ? NumberStyles.AllowHexSpecifier : NumberStyles.None,
                           CultureInfo.InvariantCulture, out long value))
        {
            return false;
        }
        address = new IntPtr(value);
        return value != 0;
    }
}
