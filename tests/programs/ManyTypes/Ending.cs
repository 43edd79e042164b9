using System;

// The exit code of a program that works until memory runs out.
internal static class Ending
{
    // Works, and returns 0; 42: an OutOfMemoryException was caught, possibly as the reason of another exception; 1:
    // another exception. The handler is compiled before the work begins: compiling needs memory.
    public static int Of(Action work)
    {
        try
        {
            work();
            return 0;
        }
        catch (Exception exception)
        {
            Exception? reason = exception;
            while (reason != null && !(reason is OutOfMemoryException))
            {
                reason = reason.InnerException;
            }
            if (reason != null)
            {
                return 42;
            }
            Console.WriteLine(exception);
            return 1;
        }
    }
}
