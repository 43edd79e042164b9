using System;
using System.Threading;

namespace ClrHostMemory;

/// <summary>What has happened.</summary>
public enum HostMemoryEventKind
{
    /// <summary>The manager refused <see cref="HostMemoryEventArgs.Count"/> requests of
    /// <see cref="HostMemoryEventArgs.Level"/>.</summary>
    Refusal = 1,

    /// <summary>The availability changed.</summary>
    Pressure,

    /// <summary>The manager gave up <see cref="HostMemoryEventArgs.Bytes"/> of its reserves.</summary>
    ReserveUsed,

    /// <summary>The reserves are whole again.</summary>
    ReserveRestored,

    /// <summary>The memory in use exceeds the limit by <see cref="HostMemoryEventArgs.Bytes"/>; 0: it fits again.</summary>
    OverLimit,

    /// <summary>The manager has stopped to serve by itself; the statistics have the cause.</summary>
    Latch,

    /// <summary>The stage of the manager's life changed.</summary>
    State,

    /// <summary>The runtime spins at its limit, <see cref="HostMemoryEventArgs.Count"/> times since the last event.
    /// </summary>
    Thrash,

    /// <summary><see cref="HostMemoryEventArgs.Count"/> requests named a taken address. No memory is lacking.</summary>
    Placement,

    /// <summary>The limit changed.</summary>
    LimitChanged = 100,
}

/// <summary>A change of the availability of memory.</summary>
public sealed class MemoryPressureEventArgs : EventArgs
{
    internal MemoryPressureEventArgs(MemoryAvailability previous, HostMemoryStatistics statistics)
    {
        Previous = previous;
        Statistics = statistics;
    }

    /// <summary>The availability now.</summary>
    public MemoryAvailability Availability => Statistics.Availability;

    /// <summary>The availability before.</summary>
    public MemoryAvailability Previous { get; }

    /// <summary>The figures when the change was noticed.</summary>
    public HostMemoryStatistics Statistics { get; }
}

/// <summary>An event of the manager.</summary>
public sealed class HostMemoryEventArgs : EventArgs
{
    internal HostMemoryEventArgs(
        HostMemoryEventKind kind, HostMemoryStatistics statistics, HostMemoryLevel? level, ulong count, ulong bytes)
    {
        Kind = kind;
        Statistics = statistics;
        Level = level;
        Count = count;
        Bytes = bytes;
    }

    /// <summary>What has happened.</summary>
    public HostMemoryEventKind Kind { get; }

    /// <summary>The level of the requests, for <see cref="HostMemoryEventKind.Refusal"/>.</summary>
    public HostMemoryLevel? Level { get; }

    /// <summary>See the kind; 0 otherwise.</summary>
    public ulong Count { get; }

    /// <summary>See the kind; 0 otherwise.</summary>
    public ulong Bytes { get; }

    /// <summary>The figures when the event was noticed.</summary>
    public HostMemoryStatistics Statistics { get; }
}

public sealed unsafe partial class HostMemory
{
    private readonly object _eventLock = new();
    private EventHandler<MemoryPressureEventArgs>? _pressureChanged;
    private EventHandler<HostMemoryEventArgs>? _eventRaised;
    private EventWatch? _watch;

    /// <summary>How long it takes at most until a change is noticed, apart from the scheduling of threads.</summary>
    public static TimeSpan EventLatency => TimeSpan.FromMilliseconds(EventWatch.IntervalMilliseconds);

    /// <summary>Raised when the availability of memory has changed. A background thread of this library compares the
    /// figures every 250 ms while an event has a subscriber, and calls the handlers one after the other. A state that
    /// begins and ends between two looks is not seen. The host's event sink is independent of this. An exception of a
    /// handler ends the process.</summary>
    public event EventHandler<MemoryPressureEventArgs> PressureChanged
    {
        add
        {
            lock (_eventLock)
            {
                _pressureChanged += value;
                UpdateWatch();
            }
        }
        remove
        {
            lock (_eventLock)
            {
                _pressureChanged -= value;
                UpdateWatch();
            }
        }
    }

    /// <summary>Raised when something has happened that <see cref="HostMemoryEventKind"/> names, in the way of
    /// <see cref="PressureChanged"/>. Refusals are summed.</summary>
    public event EventHandler<HostMemoryEventArgs> EventRaised
    {
        add
        {
            lock (_eventLock)
            {
                _eventRaised += value;
                UpdateWatch();
            }
        }
        remove
        {
            lock (_eventLock)
            {
                _eventRaised -= value;
                UpdateWatch();
            }
        }
    }

    // Starts the watch with the first subscriber and ends it with the last one.
    private void UpdateWatch()
    {
        bool wanted = _pressureChanged is not null || _eventRaised is not null;
        if (wanted && _watch is null)
        {
            _watch = new EventWatch(this);
        }
        else if (!wanted && _watch is not null)
        {
            _watch.Stop();
            _watch = null;
        }
    }

    // Compares the figures in intervals, on a thread of this library. Allocates only when it raises an event.
    private sealed class EventWatch
    {
        public const int IntervalMilliseconds = 250;

        private readonly HostMemory _memory;
        private readonly object _lock = new();
        private NativeStatistics _before;
        private NativeStatistics _now;
        private HostMemoryStatistics? _snapshot;  // of _now, made when an event needs it
        private bool _stopped;

        // Events are changes from this moment on.
        public EventWatch(HostMemory memory)
        {
            _memory = memory;
            fixed (NativeStatistics* before = &_before)
            {
                memory.Read(before);
            }
            new Thread(Run) { IsBackground = true, Name = "ClrHostMemory events" }.Start();
        }

        // Later changes are not reported. A handler that is running still ends.
        public void Stop()
        {
            lock (_lock)
            {
                _stopped = true;
                Monitor.Pulse(_lock);
            }
        }

        private void Run()
        {
            while (Pause())
            {
                fixed (NativeStatistics* now = &_now)
                {
                    *now = default;
                    if (_memory.TryRead(now) < 0)
                    {
                        continue;
                    }
                }
                _snapshot = null;
                Compare();
                _before = _now;
            }
        }

        // Waits for the next look. False: the watch has been stopped.
        private bool Pause()
        {
            lock (_lock)
            {
                if (!_stopped)
                {
                    Monitor.Wait(_lock, IntervalMilliseconds);
                }
                return !_stopped;
            }
        }

        private void Compare()
        {
            if (_now.Limit != _before.Limit)
            {
                Raise(HostMemoryEventKind.LimitChanged);
            }
            for (int level = 0; level < NativeStatistics.Levels; ++level)
            {
                ulong more = _now.RefusalsOf(level) - _before.RefusalsOf(level);
                if (more != 0)
                {
                    Raise(HostMemoryEventKind.Refusal, (HostMemoryLevel)level, more);
                }
            }
            if (_now.Availability != _before.Availability)
            {
                EventHandler<MemoryPressureEventArgs>? handlers = Volatile.Read(ref _stopped) ? null : _memory._pressureChanged;
                handlers?.Invoke(
                    _memory, new MemoryPressureEventArgs((MemoryAvailability)_before.Availability, Snapshot()));
                Raise(HostMemoryEventKind.Pressure);
            }
            CompareReserves();
            if ((_now.OverLimit == 0) != (_before.OverLimit == 0))
            {
                Raise(HostMemoryEventKind.OverLimit, bytes: _now.OverLimit);
            }
            if (_now.Thrashes != _before.Thrashes)
            {
                Raise(HostMemoryEventKind.Thrash, count: _now.Thrashes - _before.Thrashes);
            }
            if (_now.PlacementRefusals != _before.PlacementRefusals)
            {
                Raise(HostMemoryEventKind.Placement, count: _now.PlacementRefusals - _before.PlacementRefusals);
            }
            if (_now.LatchCause != _before.LatchCause)
            {
                Raise(HostMemoryEventKind.Latch);
            }
            if (_now.State != _before.State)
            {
                Raise(HostMemoryEventKind.State);
            }
        }

        private void CompareReserves()
        {
            ulong used = _now.HeadroomGiven - _before.HeadroomGiven +
                         (_now.AddressSpaceUses - _before.AddressSpaceUses) * _now.AddressSpaceReserve;
            if (used != 0)
            {
                Raise(HostMemoryEventKind.ReserveUsed, bytes: used);
            }
            if ((used != 0 || !_before.ReservesAreWhole) && _now.ReservesAreWhole)
            {
                Raise(HostMemoryEventKind.ReserveRestored);
            }
        }

        private HostMemoryStatistics Snapshot() => _snapshot ??= new HostMemoryStatistics(_now);

        private void Raise(HostMemoryEventKind kind, HostMemoryLevel? level = null, ulong count = 0, ulong bytes = 0)
        {
            EventHandler<HostMemoryEventArgs>? handlers = Volatile.Read(ref _stopped) ? null : _memory._eventRaised;
            handlers?.Invoke(_memory, new HostMemoryEventArgs(kind, Snapshot(), level, count, bytes));
        }
    }
}
