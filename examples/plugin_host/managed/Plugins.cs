using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

// The managed part of the plug-in host: each plug-in is in its own load context, which can be unloaded. Here a plug-in
// is this very assembly once more, and its work is to keep memory.
public static class Plugins
{
    private const int BlockBytes = 64 * 1024;

    private sealed class Context : AssemblyLoadContext
    {
        public Context(string name) : base(name, isCollectible: true)
        {
        }
    }

    private sealed class Loaded
    {
        public required Context Context;
        public required Func<int, long> Work;
        public required Func<long> Held;
    }

    private static readonly Dictionary<int, Loaded> s_plugins = new();

    // Loads plug-in `id`.
    [UnmanagedCallersOnly]
    public static void Load(int id)
    {
        var context = new Context("plug-in " + id);
        Type type = context.LoadFromAssemblyPath(typeof(Plugins).Assembly.Location).GetType("Plugins+Plugin")!;
        s_plugins[id] = new Loaded
        {
            Context = context,
            Work = type.GetMethod(nameof(Plugin.Work))!.CreateDelegate<Func<int, long>>(),
            Held = type.GetMethod(nameof(Plugin.Held))!.CreateDelegate<Func<long>>(),
        };
    }

    // Lets plug-in `id` allocate. Returns 1, or 0 if it ran out of memory.
    [UnmanagedCallersOnly]
    public static int Work(int id, int blocks)
    {
        try
        {
            s_plugins[id].Work(blocks);
            return 1;
        }
        catch (OutOfMemoryException)
        {
            return 0;
        }
    }

    // Returns the bytes that plug-in `id` holds; 0: it is not loaded.
    [UnmanagedCallersOnly]
    public static long Held(int id) => s_plugins.TryGetValue(id, out Loaded? plugin) ? plugin.Held() : 0;

    // Unloads plug-in `id`, and collects what it held.
    [UnmanagedCallersOnly]
    public static void Unload(int id)
    {
        Remove(id);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, true, true);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Remove(int id)
    {
        if (s_plugins.Remove(id, out Loaded? plugin))
        {
            plugin.Context.Unload();
        }
    }

    // A plug-in. Each load context has its own static fields.
    public static class Plugin
    {
        private static readonly List<byte[]> s_blocks = new();

        public static long Work(int blocks)
        {
            for (int i = 0; i < blocks; ++i)
            {
                s_blocks.Add(new byte[BlockBytes]);
            }
            return Held();
        }

        public static long Held() => (long)s_blocks.Count * BlockBytes;
    }
}
