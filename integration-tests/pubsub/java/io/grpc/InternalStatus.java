package io.grpc;

/**
 * The class of this name in Google's Pub/Sub emulator 0.8.20 lacks a method that the emulator calls when a
 * client drops a stream: the dead stream then keeps receiving messages for seconds. This one, before the jar
 * on the class path, has it.
 */
public final class InternalStatus {
    public static final Metadata.Key<String> MESSAGE_KEY = Status.MESSAGE_KEY;
    public static final Metadata.Key<Status> CODE_KEY = Status.CODE_KEY;

    private InternalStatus() {}

    public static StatusRuntimeException asRuntimeExceptionWithoutStacktrace(
            Status status, Metadata trailers) {
        return new InternalStatusRuntimeException(status, trailers);
    }

    public static StatusRuntimeException asRuntimeException(
            Status status, Metadata trailers, boolean fillInStackTrace) {
        return fillInStackTrace
                ? new StatusRuntimeException(status, trailers)
                : new InternalStatusRuntimeException(status, trailers);
    }
}
