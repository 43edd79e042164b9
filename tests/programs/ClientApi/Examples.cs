using System;
using System.Collections.Generic;
using System.Diagnostics.Metrics;
using ClrHostMemory;

// The code of docs/managed.md; the build checks that its lines are here.
internal static class Examples
{
    private static readonly Dictionary<string, byte[]> cache_ = new();

    public static void Report()
    {
        if (HostMemory.TryGetCurrent(out HostMemory? memory))
        {
            HostMemoryStatistics figures = memory.GetStatistics();
            Console.WriteLine($"charged {figures.Charged} of {figures.Limit}, GC {figures.GcCharged} of {figures.GcLimit}");
            Console.WriteLine($"refused {figures.GetLimitRefusals(HostMemoryLevel.Task)} requests of the GC's heap");
        }
    }

    public static void ChangeLimit()
    {
        HostMemory memory = HostMemory.Current;
        ulong? before = memory.Limit;
        memory.Limit = 96UL << 20;
        memory.SetLimit(96UL << 20, processHeadroom: HostMemoryHeadroom.OfPercent(10));
        memory.Limit = before;
    }

    public static void GiveUpCache()
    {
        HostMemory.Current.PressureChanged += OnPressure;
        HostMemory.Current.PressureChanged -= OnPressure;
    }

    private static void OnPressure(object? sender, MemoryPressureEventArgs change)
    {
        if (change.Availability == MemoryAvailability.Low)
        {
            lock (cache_)
            {
                cache_.Clear();
            }
        }
    }

    public static void Measure()
    {
        using Meter meter = HostMemory.Current.CreateMeter();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, self) =>
            {
                if (instrument.Meter.Name == HostMemory.MeterName)
                {
                    self.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>(
            (instrument, value, tags, state) => Console.WriteLine($"{instrument.Name} {value} {instrument.Unit}"));
        listener.Start();
        listener.RecordObservableInstruments();
    }
}
