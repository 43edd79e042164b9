using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.IO;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
using ClrHostMemory;

// ClientApi none | LIMIT_MIB [abandoned]: uses every member of ClrHostMemory.Client.
//   none       the process has no manager
//   LIMIT_MIB  the process has a manager with this limit
//   abandoned  its host has detached the bridge, and released bridge and manager
// Prints a line "ok <what>" or "FAILED <what>" for each check. Exit code 0: all checks passed; 1: a check failed.
internal static class ClientApi
{
    private const ulong MiB = 1024 * 1024;

    private static HostMemory memory_ = null!;
    private static ulong limit_;

    private static int Main(string[] args)
    {
        if (args[0] == "none")
        {
            Checks.That(!HostMemory.TryGetCurrent(out HostMemory? none) && none is null, "TryGetCurrent finds none");
            Checks.Throws<InvalidOperationException>(() => _ = HostMemory.Current, "clrmem run", "Current says what to do");
        }
        else
        {
            limit_ = ulong.Parse(args[0], CultureInfo.InvariantCulture) * MiB;
            Find();
            if (args.Length > 1)
            {
                Abandoned();
            }
            else
            {
                CheckAll();
            }
        }
        Console.WriteLine(Checks.Failures == 0 ? "all ok" : Checks.Failures + " failed");
        return Checks.Failures == 0 ? 0 : 1;
    }

    private static void CheckAll()
    {
        Figures();
        Charge();
        Limits();
        Settings();
        AuditAndLoad();
        Report();
        Events();
        Unsubscribed();
        Metrics();
        Cost();
        Examples.Report();
        Examples.ChangeLimit();
        Examples.GiveUpCache();
        Examples.Measure();
        Checks.That(memory_.Limit == limit_, "the examples leave the limit as it was");
    }

    private static void Find()
    {
        Checks.That(HostMemory.TryGetCurrent(out HostMemory? found), "TryGetCurrent");
        memory_ = HostMemory.Current;
        Checks.That(ReferenceEquals(found, memory_), "Current is the same");
        Checks.That(ReferenceEquals(HostMemory.FromPointer(ControlPointer()), memory_), "FromPointer returns the same");
        string? variable = Environment.GetEnvironmentVariable("CLRMEM_MANAGER");
        if (variable is not null)
        {
            Checks.That(ReferenceEquals(HostMemory.FromPointer(AddressIn(variable)), memory_),
                        "CLRMEM_MANAGER is the same manager");
        }
        Checks.Throws<ArgumentNullException>(() => HostMemory.FromPointer(0), "IUnknown", "FromPointer refuses 0");
        Checks.Throws<ArgumentException>(() => HostMemory.FromPointer(OtherObject()), "is no manager",
                                         "FromPointer refuses another object");
    }

    // Returns a COM object that has no interface of a manager.
    private static unsafe nint OtherObject()
    {
        var memory = (void**)NativeMemory.Alloc(2 * (nuint)sizeof(void*));
        memory[0] = memory + 1;
        memory[1] = (delegate* unmanaged[Stdcall]<void*, Guid*, void**, int>)&NoInterface;
        return (nint)memory;
    }

    [UnmanagedCallersOnly(CallConvs = new[] { typeof(CallConvStdcall) })]
    private static unsafe int NoInterface(void* self, Guid* iid, void** result) => unchecked((int)0x80004002);

    private static nint ControlPointer() => AddressIn((string)AppContext.GetData("CLR_HOST_MEMORY_CONTROL")!);

    private static nint AddressIn(string text) =>
        nint.Parse(text.AsSpan(text.IndexOf("0x", StringComparison.Ordinal) + 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    // The manager serves no runtime any more, but the calls are safe.
    private static void Abandoned()
    {
        HostMemoryStatistics figures = memory_.GetStatistics();
        Checks.That(figures.Limit == limit_ && figures.PeakCharged > 0, "the figures of a detached manager");
        memory_.Limit = limit_ + MiB;
        Checks.That(memory_.Limit == limit_ + MiB, "its limit");
        memory_.Audit();
        memory_.WriteReport(TextWriter.Null);
        memory_.PressureChanged += (_, _) => { };
        GC.KeepAlive(new byte[2 * limit_]);
        Checks.That(memory_.GetStatistics().Charged < limit_, "the limit does not hold for a detached runtime");
    }

    private static void Figures()
    {
        HostMemoryStatistics figures = memory_.GetStatistics();
        Checks.That(figures.Limit == limit_ && figures.Bound == limit_, "Limit and Bound");
        Checks.That(figures.AppDomainHeadroom + figures.ProcessHeadroom is var headrooms && headrooms < limit_, "headrooms");
        Checks.That(figures.PageBytes + figures.HeapBytes == figures.Charged, "PageBytes and HeapBytes make Charged");
        Checks.That(figures.GcCharged > 0 && figures.GcCharged < figures.Charged, "GcCharged");
        Checks.That(figures.PeakCharged > figures.Charged / 2 && figures.PeakCharged <= limit_, "PeakCharged");
        Checks.That(figures.Available == limit_ - figures.Charged - figures.HeadroomHeld, "Available");
        Checks.That(figures.OverLimit == 0 && figures.OverBound == 0, "OverLimit, OverBound");
        Checks.That(figures.Reserved > figures.Charged && figures.PeakReserved >= figures.Reserved, "Reserved");
        Checks.That(figures.Regions > 10 && figures.Metadata > 0, "Regions, Metadata");
        Checks.That(figures.StaleRegions + figures.SealedRegions + figures.Waiting + figures.Thrashes == 0, "figures that are 0");
        Checks.That(figures.CommittedHeadroom >= figures.HeadroomHeld && figures.HeadroomGiven >= figures.HeadroomTakenBack &&
                    figures.HeadroomUses <= figures.HeadroomGiven, "headroom figures");
        Checks.That(figures.AddressSpaceReserve == figures.AddressSpaceHeld && figures.AddressSpaceUses == 0, "address space");
        Checks.That(figures.Mapped < figures.Reserved + limit_ && figures.Outside < 1UL << 40, "Mapped, Outside");
        Checks.That(figures.PlacementRefusals < 1000, "PlacementRefusals");
        Checks.That(figures.State == HostMemoryState.Running, "State");
        Checks.That(figures.LatchCause == HostMemoryLatchCause.None && figures.LatchError == 0, "LatchCause");
        Checks.That(figures.Availability is >= MemoryAvailability.Low and <= MemoryAvailability.High, "Availability");
        Checks.That(figures.GetCalls(HostMemoryMethod.VirtualAlloc, HostMemoryCode.Ok) > 20, "calls of VirtualAlloc");
        Checks.That(figures.GetCalls(HostMemoryMethod.VirtualFree, HostMemoryCode.Pointer) == 0, "calls without success");
        Checks.That(figures.GetCalls(HostMemoryMethod.RegisterMemoryNotificationCallback, HostMemoryCode.Ok) == 1,
                    "the runtime has registered");
        foreach (HostMemoryLevel level in Enum.GetValues<HostMemoryLevel>())
        {
            Checks.That(figures.GetRefusals(level) + figures.GetLimitRefusals(level) +
                        figures.GetRefusals(level, HostMemoryCode.Timeout) + figures.GetWaits(level) +
                        figures.GetWaitsGranted(level) + figures.GetWaitsTimedOut(level) +
                        figures.GetWaitsAbandoned(level) == 0, "nothing was refused at " + level);
        }
        Checks.That(figures.GetNotifications(MemoryAvailability.Low) == 0, "the runtime was not notified of Low");
        Checks.That(figures.ToString().Contains("charged " + figures.Charged + " of " + limit_), "ToString");
        Checks.Throws<ArgumentOutOfRangeException>(() => figures.GetWaits((HostMemoryLevel)3), "No such level", "no level 3");
        Checks.Throws<ArgumentOutOfRangeException>(() => figures.GetCalls(0, (HostMemoryCode)10), "No such result", "no code 10");
        Checks.Throws<ArgumentOutOfRangeException>(() => figures.GetCalls((HostMemoryMethod)(-1), 0), "No such method",
                                                   "no method -1");
        Checks.Throws<ArgumentOutOfRangeException>(() => figures.GetNotifications(0), "No such availability",
                                                   "no availability 0");
        Console.WriteLine("info consistent " + figures.IsConsistent);
        Checks.Soon(() => memory_.GetStatistics() is { HasCompanion: true, GcLimit: { } limit } && limit < limit_,
                    "GcLimit by the companion");
    }

    private static void Charge()
    {
        const int Count = 24, Parts = 32;
        Collect();
        HostMemoryStatistics before = memory_.GetStatistics();
        var held = new byte[Count * Parts][];
        for (int i = 0; i < held.Length; ++i)
        {
            held[i] = new byte[(int)MiB / Parts];
        }
        HostMemoryStatistics full = memory_.GetStatistics();
        Checks.That(full.Charged - before.Charged is > (Count - 4) * MiB and < (Count + 16) * MiB, "arrays are charged");
        Checks.That(full.GcCharged - before.GcCharged is > (Count - 4) * MiB and < (Count + 16) * MiB, "to the GC");
        CheckCharged();
        Array.Clear(held);
        Checks.Soon(() => Collect() && memory_.GetStatistics().Charged + (Count - 8) * MiB < full.Charged,
                    "and uncharged when they are collected");
    }

    private static unsafe void CheckCharged()
    {
        byte[] array = GC.AllocateArray<byte>((int)MiB, pinned: true);
        array.AsSpan().Fill(1);
        nint page = (Marshal.UnsafeAddrOfPinnedArrayElement(array, 0) + 4095) & ~4095;
        Checks.That(memory_.GetCharged(page, 65536) == 65536, "GetCharged");
        Checks.Throws<ArgumentOutOfRangeException>(() => memory_.GetCharged(page, 0), "range is empty", "GetCharged of nothing");
        GC.KeepAlive(array);
    }

    // The GC keeps free memory committed. An aggressive collection decommits it.
    private static bool Collect()
    {
        GC.Collect(2, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        return true;
    }

    private static void Limits()
    {
        memory_.Limit = limit_ - 16 * MiB;
        Checks.That(memory_.Limit == limit_ - 16 * MiB && memory_.GetStatistics().Bound == limit_ - 16 * MiB, "a lower limit");
        memory_.Limit = null;
        HostMemoryStatistics unlimited = memory_.GetStatistics();
        Checks.That(memory_.Limit is null && unlimited.Bound is null && unlimited.Available is null, "no limit");
        Checks.That(unlimited.ToString().Contains(" of no limit"), "ToString without a limit");
        memory_.SetLimit(limit_, HostMemoryHeadroom.OfPercent(10), HostMemoryHeadroom.OfBytes(MiB));
        HostMemoryStatistics figures = memory_.GetStatistics();
        Checks.That(figures.AppDomainHeadroom is var tenth && tenth <= limit_ / 10 && tenth > limit_ / 10 - 4096 &&
                    figures.ProcessHeadroom == MiB, "headrooms in percent and bytes");
        Checks.Throws<ArgumentOutOfRangeException>(() => memory_.Limit = 65535, "below 65536 bytes", "a limit too low");
        Checks.Throws<ArgumentOutOfRangeException>(() => memory_.Limit = 0, "null for no limit", "a limit of 0");
        Checks.Throws<ArgumentOutOfRangeException>(
            () => memory_.SetLimit(limit_, HostMemoryHeadroom.OfBytes(limit_), HostMemoryHeadroom.OfBytes(1 * MiB)),
            "The headrooms add up to more than the limit", "headrooms above the limit");
        Checks.Throws<ArgumentOutOfRangeException>(() => HostMemoryHeadroom.OfPercent(101), "0 to 100", "101 percent");
        Checks.Throws<ArgumentOutOfRangeException>(() => HostMemoryHeadroom.OfBytes(ulong.MaxValue), "fewer bytes", "2^64 - 1 bytes");
        Checks.That(HostMemoryHeadroom.Default == default && HostMemoryHeadroom.OfPercent(1) != HostMemoryHeadroom.OfBytes(1) &&
                    HostMemoryHeadroom.OfBytes(1).Equals((object)HostMemoryHeadroom.OfBytes(1)) &&
                    HostMemoryHeadroom.OfBytes(1).GetHashCode() == HostMemoryHeadroom.OfBytes(1).GetHashCode(),
                    "headrooms compare by value");
        Checks.That(memory_.Limit == limit_, "a refused limit changes nothing");
        memory_.Limit = limit_;
    }

    private static void Settings()
    {
        memory_.SetThresholds(new HostMemoryThresholds { EnterLow = 10, LeaveLow = 20, Dwell = TimeSpan.FromMilliseconds(100) });
        Checks.Throws<ArgumentException>(() => memory_.SetThresholds(new HostMemoryThresholds { LeaveLow = 8 }), "EnterLow < LeaveLow",
                                         "thresholds out of order");
        Checks.Throws<ArgumentException>(() => memory_.SetThresholds(new HostMemoryThresholds { RepeatLow = TimeSpan.Zero }),
                                         "RepeatLow is 0", "RepeatLow 0");
        Checks.Throws<ArgumentOutOfRangeException>(
            () => memory_.SetThresholds(new HostMemoryThresholds { Dwell = TimeSpan.FromSeconds(-1) }), "0 to", "Dwell below 0");
        memory_.SetWait(HostMemoryLevel.AppDomain, TimeSpan.FromMilliseconds(10));
        memory_.SetWait(HostMemoryLevel.AppDomain, TimeSpan.Zero);
        Checks.Throws<ArgumentOutOfRangeException>(() => memory_.SetWait(HostMemoryLevel.Task, TimeSpan.FromHours(2)), "3600000",
                                                   "a wait of 2 hours");
        Checks.Throws<ArgumentOutOfRangeException>(() => memory_.SetWait((HostMemoryLevel)(-1), TimeSpan.Zero), "Give Task",
                                                   "a wait of no level");
        memory_.SetThrashGuard(TimeSpan.FromSeconds(10), 50);
        Checks.Throws<ArgumentOutOfRangeException>(() => memory_.SetThrashGuard(TimeSpan.FromMilliseconds(10), 50), "1 second to an hour",
                                                   "a thrash window of 10 ms");
        Checks.Throws<ArgumentOutOfRangeException>(() => memory_.SetThrashGuard(TimeSpan.Zero, 0), "refusals", "0 refusals");
        Wait();
    }

    // A request that waits is counted, and CancelWaits ends it.
    private static void Wait()
    {
        memory_.SetWait(HostMemoryLevel.Task, TimeSpan.FromMinutes(1));
        int result = 0;
        var waiting = new Thread(() => result = Request());
        waiting.Start();
        Checks.Soon(() => memory_.GetStatistics() is { Waiting: 1 } now && now.GetWaits(HostMemoryLevel.Task) == 1, "Waiting");
        memory_.CancelWaits();
        waiting.Join();
        Checks.That(result == unchecked((int)0x80131026), $"CancelWaits ends the wait with HOST_E_ABANDONED (0x{result:x8})");
        Checks.That(memory_.GetStatistics().GetWaitsAbandoned(HostMemoryLevel.Task) == 1, "GetWaitsAbandoned");
        memory_.SetWait(HostMemoryLevel.Task, TimeSpan.Zero);
    }

    // Requests all that the limit leaves to a heap in an empty process: more than it leaves now.
    private static int Request()
    {
        HostMemoryStatistics figures = memory_.GetStatistics();
        return Commit(limit_ - figures.AppDomainHeadroom - figures.ProcessHeadroom - 64 * 1024, out _);
    }

    // Requests as the GC's heap does. Returns an HRESULT.
    private static int Commit(ulong bytes, out IntPtr memory)
    {
        const uint CommitReserve = 0x3000, ReadWrite = 0x04;
        return Manager().VirtualAlloc(IntPtr.Zero, (UIntPtr)bytes, CommitReserve, ReadWrite, 0, out memory);
    }

    private static IHostMemoryManager Manager() => (IHostMemoryManager)Marshal.GetObjectForIUnknown(ControlPointer());

    private static void AuditAndLoad()
    {
        HostMemoryAudit audit = memory_.Audit();
        Checks.That(audit.Mismatch == 0, "Audit finds no mismatch");
        Checks.That(audit.Regions > 10 && audit.Charged > 0 && audit.InFlight <= audit.Charged &&
                    audit.Committed <= audit.Charged + audit.InFlight, "Audit: " + audit);
        ulong before = memory_.GetStatistics().GetCalls(HostMemoryMethod.GetMemoryLoad, HostMemoryCode.Ok);
        HostMemoryLoad load = memory_.GetMemoryLoad();
        Checks.That(load.Percent is > 0 and < 100 && load.Available > 0 && load.Available < limit_, "GetMemoryLoad: " + load);
        Checks.That(memory_.GetStatistics().GetCalls(HostMemoryMethod.GetMemoryLoad, HostMemoryCode.Ok) == before + 1,
                    "GetMemoryLoad is counted");
    }

    private static void Report()
    {
        var text = new StringWriter();
        memory_.WriteReport(text);
        Checks.That(text.ToString().Split('\n').Length > 5 && text.ToString().Contains(limit_.ToString(CultureInfo.InvariantCulture)),
                    "WriteReport");
        Checks.Throws<ArgumentNullException>(() => memory_.WriteReport(null!), "writer", "WriteReport to nothing");
    }

    private static void Events()
    {
        var pressure = new List<(MemoryAvailability Before, MemoryAvailability Now)>();
        var events = new List<HostMemoryEventArgs>();
        void OnPressure(object? sender, MemoryPressureEventArgs change)
        {
            lock (pressure)
            {
                pressure.Add((change.Previous, change.Availability));
            }
        }
        void OnEvent(object? sender, HostMemoryEventArgs raised)
        {
            lock (pressure)
            {
                events.Add(raised);
            }
        }
        bool Has(HostMemoryEventKind kind)
        {
            lock (pressure)
            {
                return events.Exists(raised => raised.Kind == kind);
            }
        }
        bool IsNow(bool low)
        {
            lock (pressure)
            {
                return pressure.Count > 0 && (pressure[^1].Now == MemoryAvailability.Low) == low;
            }
        }
        ulong refusedBefore = memory_.GetStatistics().GetLimitRefusals(HostMemoryLevel.Task);
        memory_.PressureChanged += OnPressure;
        memory_.EventRaised += OnEvent;

        Checks.That(Request() != 0, "a request is refused");
        Checks.Soon(() => Has(HostMemoryEventKind.Refusal), "EventRaised: Refusal");
        HostMemoryEventArgs refusal = events.Find(raised => raised.Kind == HostMemoryEventKind.Refusal)!;
        Checks.That(refusal.Level == HostMemoryLevel.Task && refusal.Count == 1 && refusal.Bytes == 0 &&
                    refusal.Statistics.GetLimitRefusals(HostMemoryLevel.Task) == refusedBefore + 1, "its level and count");

        // The GC gives up what it can when the limit falls. It cannot give up this.
        Collect();
        Checks.That(Commit(32 * MiB, out IntPtr native) == 0, "native memory is committed");
        var watch = Stopwatch.StartNew();
        memory_.SetThresholds(new HostMemoryThresholds { EnterLow = 30, LeaveLow = 35, LeaveHigh = 60, EnterHigh = 70 });
        memory_.Limit = memory_.GetStatistics().Charged + 8 * MiB;
        Checks.Soon(() => IsNow(low: true), "PressureChanged: Low after the limit was lowered");
        Console.WriteLine("info Low after " + watch.ElapsedMilliseconds + " ms");
        Checks.Soon(() => Has(HostMemoryEventKind.LimitChanged) && Has(HostMemoryEventKind.Pressure), "EventRaised: LimitChanged, Pressure");
        // For 2 seconds the runtime may have again what it had before the limit fell below it.
        watch.Restart();
        memory_.Limit = 32 * MiB;
        while (!Has(HostMemoryEventKind.OverLimit) && watch.ElapsedMilliseconds < 1800)
        {
            Thread.Sleep(20);
        }
        memory_.Limit = limit_;
        Checks.That(Has(HostMemoryEventKind.OverLimit), "EventRaised: OverLimit");
        Checks.Soon(() => IsNow(low: false), "PressureChanged: no longer Low");
        for (int i = 1; i < pressure.Count; ++i)
        {
            Checks.That(pressure[i].Before == pressure[i - 1].Now && pressure[i].Now != pressure[i].Before, "Previous");
        }
        Manager().VirtualFree(native, UIntPtr.Zero, 0x8000);

        memory_.PressureChanged -= OnPressure;
        memory_.EventRaised -= OnEvent;
        int before = events.Count;
        memory_.Limit = limit_ - MiB;
        Thread.Sleep(4 * HostMemory.EventLatency);
        memory_.Limit = limit_;
        Checks.That(events.Count == before, "no event without a subscriber");
        Checks.That(memory_.NotifyRuntime(MemoryAvailability.Neutral), "NotifyRuntime");
        Checks.Throws<ArgumentOutOfRangeException>(() => memory_.NotifyRuntime((MemoryAvailability)4), "Give Low", "no availability 4");
    }

    // In a steady state the watch allocates nothing, and the thread ends with the last subscriber.
    private static void Unsubscribed()
    {
        Thread? thread = null;
        void OnEvent(object? sender, HostMemoryEventArgs raised) => thread = Thread.CurrentThread;
        memory_.EventRaised += OnEvent;
        memory_.Limit = limit_ - MiB;
        Checks.Soon(() => thread is not null, "an event after an earlier end");
        memory_.Limit = limit_;
        Checks.That(thread is { IsBackground: true, Name: "ClrHostMemory events" }, "its thread");
        Thread.Sleep(4 * HostMemory.EventLatency);
        long least = long.MaxValue;
        for (int attempt = 0; attempt < 4; ++attempt)  // the companion allocates in some rounds
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            Thread.Sleep(8 * HostMemory.EventLatency);
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        Checks.That(least < 1024, "a look allocates nothing: " + least + " bytes in 8 looks");
        memory_.EventRaised -= OnEvent;
        Checks.That(thread!.Join(TimeSpan.FromSeconds(15)), "the thread ends with the last subscriber");
    }

    private static void Metrics()
    {
        var measured = new SortedDictionary<string, double>();
        var listener = new MeterListener
        {
            InstrumentPublished = (instrument, self) =>
            {
                if (instrument.Meter.Name == HostMemory.MeterName)
                {
                    Checks.That(!string.IsNullOrEmpty(instrument.Description) && instrument.Meter.Version == "0.1.0",
                                instrument.Name + " in " + instrument.Unit);
                    self.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => measured[NameOf(instrument, tags)] = value);
        listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => measured[NameOf(instrument, tags)] = value);
        using (Meter meter = memory_.CreateMeter())
        {
            listener.Start();
            listener.RecordObservableInstruments();
            HostMemoryStatistics figures = memory_.GetStatistics();
            Checks.That(measured.Count == 14, "14 measurements: " + string.Join(", ", measured.Keys));
            double Of(string name) => measured.TryGetValue("clr_host_memory." + name, out double value) ? value : double.NaN;
            Checks.That(Math.Abs(Of("charged") - figures.Charged) < 4 * MiB, "charged");
            Checks.That(Of("limit") == limit_, "limit");
            Checks.That(Of("peak") >= Of("charged") && Of("peak") <= figures.PeakCharged, "peak");
            Checks.That(Of("reserved") > Of("charged"), "reserved");
            Checks.That(Of("gc.charged") > 0 && Of("gc.charged") < Of("charged"), "gc.charged");
            Checks.That(Of("headroom.held") == figures.HeadroomHeld, "headroom.held");
            Checks.That(Of("refusals/task") == figures.GetRefusals(HostMemoryLevel.Task) && Of("refusals/task") >= 1 &&
                        Of("refusals/app_domain") == 0 && Of("refusals/process") == 0, "refusals by level");
            Checks.That(Of("waits/task") == 1 && Of("waits/app_domain") == 0 && Of("waits/process") == 0, "waits by level");
            Checks.That(Of("available") is > 0 and < 100, "available");
            Checks.That(Of("pressure") is 2 or 3, "pressure");

            memory_.Limit = null;
            measured.Clear();
            Thread.Sleep(200);
            listener.RecordObservableInstruments();
            Checks.That(double.IsNaN(Of("limit")) && Of("charged") > 0, "no limit is not measured");
            memory_.Limit = limit_;
        }
        measured.Clear();
        listener.RecordObservableInstruments();
        Checks.That(measured.Count == 0, "a disposed meter measures nothing");
        listener.Dispose();

        using var factory = new Factory();
        memory_.CreateMeter(factory);
        Checks.That(factory.Made?.Name == "ClrHostMemory", "CreateMeter by a factory");
    }

    private sealed class Factory : IMeterFactory
    {
        public Meter? Made { get; private set; }

        public Meter Create(MeterOptions options) => Made = new Meter(options);

        public void Dispose() => Made?.Dispose();
    }

    private static string NameOf(Instrument instrument, ReadOnlySpan<KeyValuePair<string, object?>> tags) =>
        tags.Length == 0 ? instrument.Name : instrument.Name + "/" + (tags[0].Key == "level" ? tags[0].Value : "?");

    private static void Cost()
    {
        const int Readings = 200;
        using Process self = Process.GetCurrentProcess();
        TimeSpan before = self.TotalProcessorTime;
        var watch = Stopwatch.StartNew();
        for (int i = 0; i < Readings; ++i)
        {
            GC.KeepAlive(memory_.GetStatistics());
        }
        TimeSpan elapsed = watch.Elapsed;
        self.Refresh();
        Console.WriteLine("info GetStatistics takes " + (long)(elapsed.TotalMicroseconds / Readings) + " us, of the processor " +
                          (long)((self.TotalProcessorTime - before).TotalMicroseconds / Readings) + " us");
    }
}
