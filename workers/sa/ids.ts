/** Stands for "no message id": the SA has no keys here. */
export const NO_MID = 0xffffffff;

/** Stands for "no handle". */
export const NO_HANDLE = 0xffffffff;
