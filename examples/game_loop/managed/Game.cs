using System.Collections.Generic;
using System.Runtime.InteropServices;

// The managed part of a game: each frame makes objects, which live until the scene ends.
public static class Game
{
    private const int ObjectBytes = 1024;

    private static readonly List<byte[]> s_objects = new();

    // Returns how many objects the scene has.
    [UnmanagedCallersOnly]
    public static int Frame(int newObjects)
    {
        for (int i = 0; i < newObjects; ++i)
        {
            s_objects.Add(new byte[ObjectBytes]);
        }
        return s_objects.Count;
    }

    [UnmanagedCallersOnly]
    public static void EndScene()
    {
        s_objects.Clear();
        s_objects.TrimExcess();
    }
}
