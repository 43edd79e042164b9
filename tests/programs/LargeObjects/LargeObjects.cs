using System;

// LargeObjects [TOTAL_MIB [LIVE_OBJECTS]]: allocates TOTAL_MIB (1024) of large objects (100 KiB to 4 MiB, on the
// large-object heap). LIVE_OBJECTS (8) of them are alive at a time. Exit code 1: an object was changed.
internal static class LargeObjects
{
    private static int Main(string[] args)
    {
        long total = (args.Length > 0 ? long.Parse(args[0]) : 1024) * 1024 * 1024;
        int live = args.Length > 1 ? int.Parse(args[1]) : 8;

        var objects = new byte[live][];
        var random = new Random(54321);
        long allocated = 0;
        long count = 0;
        while (allocated < total)
        {
            int index = random.Next(live);
            byte[]? old = objects[index];
            if (old != null && (old[0] != 0x5a || old[old.Length - 1] != 0xa5))
            {
                Console.WriteLine("object " + index + " was changed");
                return 1;
            }
            var bytes = new byte[random.Next(100 * 1024, 4 * 1024 * 1024)];
            bytes[0] = 0x5a;
            bytes[bytes.Length - 1] = 0xa5;
            objects[index] = bytes;
            allocated += bytes.Length;
            ++count;
        }
        Console.WriteLine("allocated " + count + " large objects, " + GC.CollectionCount(2) +
                          " full collections");
        return 0;
    }
}
