using System;
using System.Threading;

// What an idle program does. It allocates so little that a collection can only come of a notification, and still more than
// the 1 % of memory below which a GC ignores one (of 256 MiB at most). To be run with a generation 0 of 64 MiB
// (DOTNET_GCgen0size=4000000).
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
