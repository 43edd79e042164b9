using System;
using System.Collections.Generic;
using System.Threading;

// The GC's heap, filled with blocks until memory runs out.
internal static class FullHeap
{
    public const int BlockSize = 64 * 1024;

    // Returns the blocks, without the last ones, which are released. Null: memory did not run out below noMoreThan bytes.
    public static List<byte[]>? Make(long noMoreThan, int blocksLetGo)
    {
        var blocks = new List<byte[]>((int)(noMoreThan / BlockSize));
        // Runs on its own thread: under Wine 8, .NET 8 may crash on the second exception on the same thread.
        bool ranOut = false;
        var filler = new Thread(() => ranOut = Fill(blocks, noMoreThan));
        filler.Start();
        filler.Join();
        if (!ranOut)
        {
            return null;
        }
        blocks.RemoveRange(blocks.Count - blocksLetGo, blocksLetGo);
        return blocks;
    }

    // Returns true if memory ran out.
    private static bool Fill(List<byte[]> blocks, long noMoreThan)
    {
        try
        {
            for (long held = 0; held < noMoreThan; held += BlockSize)
            {
                blocks.Add(new byte[BlockSize]);
            }
            return false;
        }
        catch (OutOfMemoryException)
        {
            return true;
        }
    }
}
