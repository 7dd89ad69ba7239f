// A page that is opened as a file gets no workers from its browser, and the search asks for one: there a
// frame of the page takes its place. The theme looks for `IFrameWorker` where it finds no worker around it.
"use strict";
window.IFrameWorker = class extends EventTarget {
  constructor(address) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.append(this.frame);
    const page = this.frame.contentDocument;
    page.open();
    page.write("<!doctype html><body></body>");
    page.close();
    const scope = this.frame.contentWindow;
    const load = (source) => new Promise((loaded, failed) => {
      const script = page.createElement("script");
      script.src = source;
      script.onload = loaded;
      script.onerror = () => failed(new Error(`${source} cannot be read`));
      page.body.append(script);
    });
    scope.importScripts = async (...sources) => {
      for (const source of sources) await load(source);
    };
    scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", {data}));
    this.loaded = load(new URL(address, document.baseURI).href);
  }

  postMessage(data) {
    const tell = () => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", {data}));
    this.loaded.then(tell).catch((error) => this.dispatchEvent(new ErrorEvent("error", {error})));
  }

  terminate() {
    this.frame.remove();
  }
};
if (location.protocol === "file:") window.Worker = window.IFrameWorker;
