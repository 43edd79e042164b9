using System;
using System.Collections.Generic;
using System.Threading;
using ClrHostMemory;

// A cache that fills the memory it may have, and gives up its oldest half when memory is low. It is asked for more values
// than fit:
//   clrmem run --limit 64M ManagedCache.dll [REQUESTS]
// Exit codes: 0: every request was served; 2: there is no manager.
internal static class ManagedCache
{
    private const int ValueBytes = 16 * 1024;

    private static readonly Dictionary<int, byte[]> s_values = new();
    private static readonly Queue<int> s_oldest = new();
    private static int s_shed;

    private static int Main(string[] args)
    {
        int requests = args.Length > 0 ? int.Parse(args[0]) : 8000;
        if (!HostMemory.TryGetCurrent(out HostMemory? memory))
        {
            Console.WriteLine("no manager: run this by clrmem, or by a host that has one");
            return 2;
        }
        memory.PressureChanged += OnPressure;

        for (int key = 0; key < requests; ++key)
        {
            Get(key);
            Thread.Sleep(1);  // as long as real work takes
        }
        Console.WriteLine($"{requests} requests, {s_shed} values given up, {s_values.Count} kept");
        HostMemoryStatistics figures = memory.GetStatistics();
        Console.WriteLine($"charged {figures.Charged >> 20} of {figures.Limit >> 20} MiB");
        return 0;
    }

    private static byte[] Get(int key)
    {
        lock (s_values)
        {
            if (!s_values.TryGetValue(key, out byte[]? value))
            {
                value = Make();
                s_values.Add(key, value);
                s_oldest.Enqueue(key);
            }
            return value;
        }
    }

    // A burst can be faster than the event.
    private static byte[] Make()
    {
        try
        {
            return new byte[ValueBytes];
        }
        catch (OutOfMemoryException)
        {
            Shed();
            return new byte[ValueBytes];
        }
    }

    private static void OnPressure(object? sender, MemoryPressureEventArgs change)
    {
        if (change.Availability == MemoryAvailability.Low)
        {
            lock (s_values)
            {
                Shed();
            }
        }
    }

    private static void Shed()
    {
        for (int count = s_oldest.Count / 2; count > 0; --count)
        {
            s_values.Remove(s_oldest.Dequeue());
            ++s_shed;
        }
    }
}
