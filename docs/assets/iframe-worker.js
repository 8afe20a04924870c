/* A page from disk may start no worker. There the search's worker runs in a hidden frame, so that it needs no network. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.scope = frame.contentWindow;
      this.ready = new Promise((resolve) => frame.addEventListener("load", resolve));
      this.scope.document.open();
      this.scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.scope.document.write(`<script src="${url}"></script>`);
      this.scope.document.close();
    }

    postMessage(data) {
      this.ready.then(() => this.scope.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
