using System;
using System.Globalization;
using System.Runtime.InteropServices;

// IClrHostMemoryControl of clr_host_memory.h, for .NET's own COM interop: every method in vtable order, with HRESULTs
// returned unchanged. Structs that no program here reads are plain pointers.
[ComImport]
[Guid("5D0B7E12-3C4F-4B9A-8E21-6A97D40F5BC3")]
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

// Thresholds in percent of available memory, and times in milliseconds.
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

// Finds the memory manager of this process. clrmem puts its address into the environment.
internal static class HostManager
{
    public const ulong DefaultHeadroom = ulong.MaxValue;
    public const int Low = 1, Neutral = 2, High = 3;

    // Returns an object that supports IHostMemoryManager and IClrHostMemoryControl, or null without a manager.
    public static object? Find()
    {
        string? text = Environment.GetEnvironmentVariable("CLRMEM_MANAGER");
        return TryParseAddress(text, out IntPtr address) ? Marshal.GetObjectForIUnknown(address) : null;
    }

    // Returns the manager's limit and its present charge, in bytes. ClrHostMemoryStatistics begins with its size, and
    // has these two fields at the same offsets in every version.
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

    // Parses a decimal or hexadecimal (0x...) address. Returns false for null.
    public static bool TryParseAddress(string? text, out IntPtr address)
    {
        address = IntPtr.Zero;
        if (text == null)
        {
            return false;
        }
        // CLRMEM_MANAGER names the process, since its children inherit it. There the address means nothing.
        int colon = text.IndexOf(':');
        if (colon >= 0)
        {
            string own = System.Diagnostics.Process.GetCurrentProcess().Id.ToString(CultureInfo.InvariantCulture);
            if (text.Substring(0, colon) != own)
            {
                return false;
            }
            text = text.Substring(colon + 1);
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
