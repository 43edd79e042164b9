using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using System.Runtime.CompilerServices;

namespace ClrHostMemory;

/// <summary>The memory manager that this process's runtime runs under: its figures, its limit, its events. All members
/// may be called by any thread at any time. There is one object for each manager, and it lives as long as the process.
/// </summary>
public sealed unsafe partial class HostMemory
{
    private const ulong LeastLimit = 65536;
    private const uint LongestWaitMilliseconds = 3_600_000;
    private const int InvalidArgument = unchecked((int)0x80070057);
    private const int OutOfMemory = unchecked((int)0x8007000E);
    private const int NotAvailable = unchecked((int)0x80131023);

    private static readonly object _findLock = new();
    private static readonly List<HostMemory> _found = new();
    private static volatile HostMemory? _current;

    private readonly Control _control;

    private HostMemory(Control control) => _control = control;

    /// <summary>The manager of this process.</summary>
    /// <exception cref="InvalidOperationException">The process has none, or its host does not say where it is.
    /// </exception>
    public static HostMemory Current => TryGetCurrent(out HostMemory? memory)
        ? memory
        : throw new InvalidOperationException(
            "This process has no memory manager of ClrHostMemory; run it by a host that has one, or by `clrmem run`. " +
            "A host that attached to a running runtime passes the manager's address, for HostMemory.FromPointer.");

    /// <summary>Finds the manager of this process. A bridge passes its address to the runtime that it starts as the
    /// property CLR_HOST_MEMORY_CONTROL, and clrmem sets the environment variable CLRMEM_MANAGER.</summary>
    /// <returns>False: the process has none, or its host does not say where it is.</returns>
    public static bool TryGetCurrent([NotNullWhen(true)] out HostMemory? memory)
    {
        memory = _current;
        if (memory is null &&
            (TryParseAddress(AppContext.GetData("CLR_HOST_MEMORY_CONTROL") as string, out nint address) ||
             TryParseAddress(Environment.GetEnvironmentVariable("CLRMEM_MANAGER"), out address)))
        {
            _current = memory = FromPointer(address);
        }
        return memory is not null;
    }

    /// <summary>Returns the manager at an address that the host has passed.</summary>
    /// <param name="unknown">An IHostMemoryManager, an IClrHostMemoryControl or another COM interface of the manager. The
    /// host keeps its reference; this method takes one more for the rest of the process.</param>
    /// <exception cref="ArgumentNullException"><paramref name="unknown"/> is 0.</exception>
    /// <exception cref="ArgumentException">The COM object is no manager of this library.</exception>
    public static HostMemory FromPointer(nint unknown)
    {
        if (unknown == 0)
        {
            throw new ArgumentNullException(nameof(unknown), "Pass the manager's IUnknown.");
        }
        int result = Control.Query(unknown, out Control control);
        if (result < 0)
        {
            throw new ArgumentException(
                $"The COM object is no manager of ClrHostMemory (0x{result:x8}); pass what ClrHostMemoryCreate returned.",
                nameof(unknown));
        }
        lock (_findLock)
        {
            HostMemory? known = _found.Find(memory => memory._control.Identity == control.Identity);
            if (known is not null)
            {
                control.Release();
                return known;
            }
            var found = new HostMemory(control);
            _found.Add(found);
            return found;
        }
    }

    /// <summary>The most bytes that may be committed; null: no limit. A new limit holds for the next request; memory in use
    /// stays. Setting it also sets both headrooms to their defaults.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Less than 65536 bytes (64 KiB).</exception>
    public ulong? Limit
    {
        get
        {
            NativeStatistics native;
            Read(&native);
            return native.Limit == Control.NoLimit ? null : native.Limit;
        }
        set => SetLimit(value);
    }

    /// <summary>Sets the limit and both headrooms for the next request. Memory in use stays: while it is above the new
    /// limit, the manager refuses new memory to the lower levels and reports Low to the runtime.</summary>
    /// <param name="limit">Bytes, at least 65536; null: no limit.</param>
    /// <param name="appDomainHeadroom">What requests of level Task leave to the higher levels.</param>
    /// <param name="processHeadroom">What is kept for requests of level Process.</param>
    /// <exception cref="ArgumentOutOfRangeException">The limit is too low, or the headrooms add up to more than the limit.
    /// </exception>
    public void SetLimit(
        ulong? limit, HostMemoryHeadroom appDomainHeadroom = default, HostMemoryHeadroom processHeadroom = default)
    {
        if (limit is < LeastLimit)
        {
            throw new ArgumentOutOfRangeException(
                nameof(limit), limit,
                "The limit is below 65536 bytes (64 KiB), the smallest reservation; give the bytes that may be " +
                "committed, such as 67108864, or null for no limit.");
        }
        int result = _control.SetLimit(
            limit ?? Control.NoLimit, appDomainHeadroom.NativeValue, processHeadroom.NativeValue);
        if (result == InvalidArgument)
        {
            throw new ArgumentOutOfRangeException(
                nameof(limit), limit, "The headrooms add up to more than the limit; lower them, or raise the limit.");
        }
        Check(result);
    }

    /// <summary>Returns the manager's figures.</summary>
    public HostMemoryStatistics GetStatistics()
    {
        NativeStatistics native;
        Read(&native);
        return new HostMemoryStatistics(native);
    }

    /// <summary>Returns the memory load. The call is one of the statistics' calls of GetMemoryLoad.</summary>
    /// <exception cref="InvalidOperationException">The manager has been shut down.</exception>
    public HostMemoryLoad GetMemoryLoad()
    {
        uint percent;
        nuint available;
        Check(_control.GetMemoryLoad(&percent, &available));
        return new HostMemoryLoad((int)percent, available);
    }

    /// <summary>Compares all memory that the manager knows with what the operating system reports. Takes milliseconds.
    /// Requests may run meanwhile.</summary>
    public HostMemoryAudit Audit()
    {
        NativeAudit native;
        Check(_control.Audit(&native));
        return new HostMemoryAudit(native.Charged, native.Committed, native.Mismatch, native.Regions, native.InFlight);
    }

    /// <summary>Returns how many bytes of a range are charged as pages.</summary>
    /// <param name="address">The first byte.</param>
    /// <param name="size">Bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such range.</exception>
    public ulong GetCharged(nint address, ulong size)
    {
        ulong bytes;
        int result = _control.GetCharged(address, size, &bytes);
        if (result == InvalidArgument)
        {
            throw new ArgumentOutOfRangeException(
                nameof(size), size, "The range is empty or outside of the address space; give the bytes of an allocation.");
        }
        Check(result);
        return bytes;
    }

    /// <summary>Sets when memory counts as Low or High.</summary>
    /// <exception cref="ArgumentException">The percentages are not in their order, or a time is out of range.</exception>
    /// <exception cref="InvalidOperationException">The process is ending.</exception>
    public void SetThresholds(HostMemoryThresholds thresholds)
    {
        ArgumentNullException.ThrowIfNull(thresholds);
        if (thresholds.EnterLow < 0 || thresholds.EnterLow >= thresholds.LeaveLow ||
            thresholds.LeaveLow > thresholds.LeaveHigh || thresholds.LeaveHigh >= thresholds.EnterHigh ||
            thresholds.EnterHigh > 100)
        {
            throw new ArgumentException(
                "The thresholds are not in order; give 0 <= EnterLow < LeaveLow <= LeaveHigh < EnterHigh <= 100.",
                nameof(thresholds));
        }
        var native = new NativeThresholds
        {
            EnterLow = (uint)thresholds.EnterLow,
            LeaveLow = (uint)thresholds.LeaveLow,
            LeaveHigh = (uint)thresholds.LeaveHigh,
            EnterHigh = (uint)thresholds.EnterHigh,
            DwellMilliseconds = Milliseconds(thresholds.Dwell, int.MaxValue, nameof(thresholds)),
            RepeatLowMilliseconds = Milliseconds(thresholds.RepeatLow, int.MaxValue, nameof(thresholds)),
        };
        if (native.RepeatLowMilliseconds == 0)
        {
            throw new ArgumentException("RepeatLow is 0; give a time such as 8192 ms.", nameof(thresholds));
        }
        Check(_control.SetThresholds(&native));
    }

    /// <summary>Sets how long a request of a level may wait for memory, for requests that begin later.</summary>
    /// <param name="level">The level.</param>
    /// <param name="longest">0: no wait; at most an hour.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such level, or the time is out of range.</exception>
    /// <exception cref="InvalidOperationException">The manager has been shut down.</exception>
    /// <exception cref="InsufficientMemoryException">There is no thread for the queue of waiting requests.</exception>
    public void SetWait(HostMemoryLevel level, TimeSpan longest)
    {
        if ((uint)level >= NativeStatistics.Levels)
        {
            throw new ArgumentOutOfRangeException(nameof(level), level, "Give Task, AppDomain or Process.");
        }
        Check(_control.SetWait((int)level, Milliseconds(longest, LongestWaitMilliseconds, nameof(longest))));
    }

    /// <summary>Ends every present wait for memory. The requests fail. Later requests wait as before.</summary>
    public void CancelWaits() => Check(_control.CancelWaits());

    /// <summary>Sets when the manager reports that the runtime makes no progress at its limit.</summary>
    /// <param name="window">1 second to an hour; 0: never.</param>
    /// <param name="refusals">The least number of refusals in that window; above 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">An argument is out of range.</exception>
    public void SetThrashGuard(TimeSpan window, int refusals)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(refusals);
        uint milliseconds = Milliseconds(window, LongestWaitMilliseconds, nameof(window));
        if (milliseconds is > 0 and < 1000)
        {
            throw new ArgumentOutOfRangeException(
                nameof(window), window, "Give 1 second to an hour, or 0 to turn the guard off.");
        }
        Check(_control.SetThrashGuard(milliseconds, (uint)refusals));
    }

    /// <summary>Notifies the runtime of this availability, as the manager does when it changes. The GC then acts as under
    /// real pressure, so a program can test its caches. After Low, notify the runtime of Neutral. Do not call it in a
    /// handler of the host's event sink.</summary>
    /// <returns>False: the runtime has registered no callback.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is no such availability.</exception>
    public bool NotifyRuntime(MemoryAvailability availability)
    {
        if (availability is < MemoryAvailability.Low or > MemoryAvailability.High)
        {
            throw new ArgumentOutOfRangeException(nameof(availability), availability, "Give Low, Neutral or High.");
        }
        int result = _control.NotifyMemoryAvailable((int)availability);
        Check(result);
        return result == 0;
    }

    /// <summary>Writes the manager's state as lines of text, for a log or a bug report. The wording may change with every
    /// version.</summary>
    public void WriteReport(TextWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        // Nothing may be thrown across the manager, so the writer is called afterwards.
        var lines = new ReportLines();
        GCHandle handle = GCHandle.Alloc(lines);
        try
        {
            Check(_control.WriteReport(&AddLine, (void*)GCHandle.ToIntPtr(handle)));
        }
        finally
        {
            handle.Free();
        }
        if (lines.Failure is not null)
        {
            throw lines.Failure;
        }
        foreach (string line in lines.Lines)
        {
            writer.WriteLine(line);
        }
    }

    internal int TryRead(NativeStatistics* native) => _control.GetStatistics(native);

    internal bool TryGetMemoryLoad(out HostMemoryLoad load)
    {
        uint percent;
        nuint available;
        bool known = _control.GetMemoryLoad(&percent, &available) >= 0;
        load = known ? new HostMemoryLoad((int)percent, available) : default;
        return known;
    }

    internal void Read(NativeStatistics* native)
    {
        *native = default;
        Check(_control.GetStatistics(native));
    }

    private static void Check(int result)
    {
        if (result >= 0)
        {
            return;
        }
        throw result switch
        {
            NotAvailable => new InvalidOperationException("The memory manager has been shut down, or the process is ending."),
            OutOfMemory => new InsufficientMemoryException("The memory manager lacks memory for this, or a thread."),
            InvalidArgument => new ArgumentException("The memory manager refuses the argument; use another value."),
            _ => new COMException("The memory manager failed.", result),
        };
    }

    private static uint Milliseconds(TimeSpan time, uint most, string argument)
    {
        double milliseconds = Math.Ceiling(time.TotalMilliseconds);
        if (milliseconds < 0 || milliseconds > most)
        {
            throw new ArgumentOutOfRangeException(argument, time, $"Give a time of 0 to {most} milliseconds.");
        }
        return (uint)milliseconds;
    }

    // Parses "<process id>:0x<address>". False: no text, or another process's, which has started this one.
    private static bool TryParseAddress(string? text, out nint address)
    {
        address = 0;
        string own = Environment.ProcessId.ToString(CultureInfo.InvariantCulture) + ":0x";
        return text is not null && text.StartsWith(own, StringComparison.Ordinal) &&
               nint.TryParse(
                   text.AsSpan(own.Length), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out address) &&
               address != 0;
    }

    private sealed class ReportLines
    {
        public readonly List<string> Lines = new();
        public OutOfMemoryException? Failure;
    }

    [UnmanagedCallersOnly(CallConvs = new[] { typeof(CallConvStdcall) })]
    private static void AddLine(byte* line, void* context)
    {
        var lines = (ReportLines)GCHandle.FromIntPtr((nint)context).Target!;
        try
        {
            lines.Lines.Add(Marshal.PtrToStringUTF8((nint)line) ?? "");
        }
        catch (OutOfMemoryException failure)
        {
            lines.Failure = failure;
        }
    }
}
