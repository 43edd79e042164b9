using System;
using System.Collections.Generic;

// RaisedNeed code|types|native [MIB]: fills the GC's heap until memory runs out, and releases 1 MiB. Then it takes MIB
// (20) outside of the heap, as OutsideHeap.cs does, while all of the rest stays alive. Exit code 0: it got them; 42: an
// OutOfMemoryException was caught; 1: memory never ran out before.
internal static class RaisedNeed
{
    private const int BlocksLetGo = 16;
    private const long NoMoreThan = 1024L * 1024 * 1024;

    private static int Main(string[] args)
    {
        int mebibytes = args.Length > 1 ? int.Parse(args[1]) : 20;
        try
        {
            OutsideHeap outside = OutsideHeap.Prepare(args[0], mebibytes);
            List<byte[]>? blocks = FullHeap.Make(NoMoreThan, BlocksLetGo);
            if (blocks == null)
            {
                return 1;
            }
            int filled = blocks.Count + BlocksLetGo;
            for (int i = 0; i < mebibytes; ++i)
            {
                outside.Take(i);
            }
            GC.KeepAlive(outside);
            blocks.Clear();  // printing needs some of the heap
            Console.WriteLine("filled " + filled / 16 + " MiB, then took " + mebibytes + " MiB of " + args[0]);
        }
        catch (OutOfMemoryException)
        {
            return 42;
        }
        return 0;
    }
}
