using System;
using System.Diagnostics.Metrics;
using ClrHostMemory;

// A program that uses the package: it prints the manager's limit, changes it, and measures it. Exit code 3: the process
// has no manager.
if (!HostMemory.TryGetCurrent(out HostMemory? memory))
{
    Console.WriteLine("no manager");
    return 3;
}
Console.WriteLine($"limit {memory.Limit}");
memory.Limit -= 16 << 20;
Console.WriteLine($"lowered {memory.GetStatistics().Limit}");

using Meter meter = memory.CreateMeter();
using var listener = new MeterListener();
listener.InstrumentPublished = (instrument, self) =>
{
    if (instrument.Name == "clr_host_memory.limit")
    {
        self.EnableMeasurementEvents(instrument);
    }
};
listener.SetMeasurementEventCallback<long>((_, value, _, _) => Console.WriteLine($"measured {value}"));
listener.Start();
listener.RecordObservableInstruments();
return 0;
