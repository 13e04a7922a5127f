interface ImportMetaEnv {
  /** The queue's server, where it is not the page's own. */
  readonly VITE_QUEUE_URL?: string;
}
