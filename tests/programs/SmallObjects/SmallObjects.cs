using System;

// SmallObjects [TOTAL_MIB [LIVE_OBJECTS]]: allocates TOTAL_MIB (256) of small objects. LIVE_OBJECTS (100000) of them
// are alive at a time. Exit code 1: an object was changed.
internal static class SmallObjects
{
    private sealed class Node
    {
        public Node? Other;
        public long Stamp;
        public byte[] Payload = Array.Empty<byte>();
    }

    private static int Main(string[] args)
    {
        long total = (args.Length > 0 ? long.Parse(args[0]) : 256) * 1024 * 1024;
        int live = args.Length > 1 ? int.Parse(args[1]) : 100_000;

        var nodes = new Node?[live];
        var random = new Random(12345);
        long allocated = 0;
        long count = 0;
        while (allocated < total)
        {
            int index = random.Next(live);
            Node? old = nodes[index];
            if (old != null && (old.Stamp & 0xff) != (old.Payload.Length & 0xff))
            {
                Console.WriteLine("object " + index + " was changed");
                return 1;
            }
            int size = random.Next(8, 200);
            nodes[index] = new Node
            {
                Other = nodes[random.Next(live)],
                Stamp = size,
                Payload = new byte[size],
            };
            // Cuts the old object's link: chains of links would keep all objects alive.
            if (old != null)
            {
                old.Other = null;
            }
            allocated += size + 64;
            ++count;
        }
        Console.WriteLine("allocated " + count + " small objects, " + GC.CollectionCount(0) +
                          " collections");
        return 0;
    }
}
