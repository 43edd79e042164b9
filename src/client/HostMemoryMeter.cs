using System;
using System.Collections.Generic;
using System.Diagnostics.Metrics;

namespace ClrHostMemory;

public sealed unsafe partial class HostMemory
{
    /// <summary>The name of the meter, for MeterListener and OpenTelemetry's AddMeter.</summary>
    public const string MeterName = "ClrHostMemory";

    /// <summary>Creates a meter of this name with the manager's figures (docs/managed.md lists its instruments). Call it
    /// once, and keep the meter: disposing it ends the instruments.</summary>
    /// <param name="factory">Owns the meter, if it is not null.</param>
    public Meter CreateMeter(IMeterFactory? factory = null)
    {
        string? version = typeof(HostMemory).Assembly.GetName().Version?.ToString(3);
        Meter meter = factory is null
            ? new Meter(MeterName, version)
            : factory.Create(new MeterOptions(MeterName) { Version = version });
        var figures = new MeterFigures(this);
        meter.CreateObservableUpDownCounter(
            "clr_host_memory.charged", figures.Charged, "By", "Committed memory that counts against the limit.");
        meter.CreateObservableUpDownCounter(
            "clr_host_memory.limit", figures.Limit, "By", "The most that may be charged; not measured without a limit.");
        meter.CreateObservableGauge(
            "clr_host_memory.peak", figures.Peak, "By", "The highest charge so far.");
        meter.CreateObservableUpDownCounter(
            "clr_host_memory.reserved", figures.Reserved, "By", "Address space that is reserved.");
        meter.CreateObservableUpDownCounter(
            "clr_host_memory.gc.charged", figures.GcCharged, "By", "The part of the charge that the GC has committed.");
        meter.CreateObservableUpDownCounter(
            "clr_host_memory.headroom.held", figures.HeadroomHeld, "By",
            "Committed headroom that is held; it counts against the limit.");
        meter.CreateObservableCounter(
            "clr_host_memory.refusals", figures.Refusals, "{request}", "Requests for memory that failed, by level.");
        meter.CreateObservableCounter(
            "clr_host_memory.waits", figures.Waits, "{request}", "Requests that had to wait for memory, by level.");
        meter.CreateObservableGauge(
            "clr_host_memory.available", figures.Available, "%", "Memory that the tightest bound leaves.");
        meter.CreateObservableGauge(
            "clr_host_memory.pressure", figures.Pressure, null, "Availability of memory: 1 low, 2 neutral, 3 high.");
        return meter;
    }

    // The figures of the instruments. One collection reads all instruments, which share one reading of the manager.
    private sealed class MeterFigures
    {
        private const string LevelTag = "level";
        private const int SharedMilliseconds = 50;

        private static readonly KeyValuePair<string, object?>[] _levels =
        {
            new(LevelTag, "task"), new(LevelTag, "app_domain"), new(LevelTag, "process"),
        };

        private readonly HostMemory _memory;
        private readonly object _lock = new();
        private NativeStatistics _native;
        private long? _readAt;

        public MeterFigures(HostMemory memory) => _memory = memory;

        public long Charged() => (long)Read().Charged;

        public long Peak() => (long)Read().PeakCharged;

        public long Reserved() => (long)Read().Reserved;

        public long GcCharged() => (long)Read().GcCharged;

        public long HeadroomHeld() => (long)Read().HeadroomHeld;

        public int Pressure() => (int)Read().Availability;

        public IEnumerable<Measurement<long>> Limit()
        {
            ulong limit = Read().Limit;
            return limit == Control.NoLimit
                ? Array.Empty<Measurement<long>>()
                : new[] { new Measurement<long>((long)limit) };
        }

        public IEnumerable<Measurement<int>> Available() => _memory.TryGetMemoryLoad(out HostMemoryLoad load)
            ? new[] { new Measurement<int>(100 - load.Percent) }
            : Array.Empty<Measurement<int>>();

        public IEnumerable<Measurement<long>> Refusals()
        {
            NativeStatistics native = Read();
            return ByLevel(native.RefusalsOf(0), native.RefusalsOf(1), native.RefusalsOf(2));
        }

        public IEnumerable<Measurement<long>> Waits()
        {
            NativeStatistics native = Read();
            return ByLevel(native.Waits[0], native.Waits[1], native.Waits[2]);
        }

        private static Measurement<long>[] ByLevel(ulong task, ulong appDomain, ulong process) => new[]
        {
            new Measurement<long>((long)task, _levels[0]),
            new Measurement<long>((long)appDomain, _levels[1]),
            new Measurement<long>((long)process, _levels[2]),
        };

        private NativeStatistics Read()
        {
            lock (_lock)
            {
                long now = Environment.TickCount64;
                if (_readAt is null || now - _readAt > SharedMilliseconds)
                {
                    fixed (NativeStatistics* native = &_native)
                    {
                        _memory.Read(native);
                    }
                    _readAt = now;
                }
                return _native;
            }
        }
    }
}
