using System;
using System.Threading;

// The work of an idle program. It allocates so little that only a notification can cause a collection. It allocates
// more than 1 % of memory (of 256 MiB at most), because a GC ignores a notification below that. Run it with a
// generation 0 of 64 MiB (DOTNET_GCgen0size=4000000).
internal sealed class IdleWork
{
    private const int BlockBytes = 80 * 1024;
    private const int MostSinceACollection = 4 * 1024 * 1024;

    private int collections_ = -1;
    private int allocated_;

    // Takes 50 ms.
    public void Do()
    {
        int collections = GC.CollectionCount(0);
        if (collections != collections_)
        {
            collections_ = collections;
            allocated_ = 0;
        }
        if (allocated_ < MostSinceACollection)
        {
            allocated_ += BlockBytes;
            GC.KeepAlive(new byte[BlockBytes]);
        }
        Thread.Sleep(50);
    }
}
